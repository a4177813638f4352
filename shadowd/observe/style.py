"""The style sheet of the report (sans-IO): light and dark, paper, and a phone of 400 px.

System type, one accent for the shadow and grey for production; green, red and amber only for results, each beside its
word and its mark. Wide tables become cards below 940 px: each cell is then a line with its column's name before it.
"""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1b2027;--muted:#5c6672;--line:#dfe3e8;--soft:#f5f6f8;
--prod:#66717e;--shadow:#6a3fd1;--good:#1a7f45;--bad:#c22b26;--warn:#98610a;
--goodbg:#eaf6ee;--badbg:#fcefee;--warnbg:#fcf4e3}
@media screen and (prefers-color-scheme:dark){:root{--page:#14171b;--text:#e3e7ec;--muted:#98a2ae;--line:#2e343c;
--soft:#1c2026;--prod:#99a5b3;--shadow:#b195ff;--good:#5fcb8b;--bad:#ff8079;--warn:#e6b450;
--goodbg:#14261b;--badbg:#2f1a1a;--warnbg:#2b2313}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main,header,footer{max-width:1000px;margin:0 auto;padding:0 40px}
header{padding-top:32px;color:var(--muted);font-size:13px;display:flex;flex-wrap:wrap;gap:4px 24px;
justify-content:space-between}
header,h1,h3,p,summary,dd,.legend,.sign{overflow-wrap:anywhere}
header b{color:var(--text)}
h1,h2,h3{line-height:1.25;margin:0;text-wrap:balance}
h2{font-size:21px;font-weight:650;margin:56px 0 6px}
h3{font-size:15px;font-weight:650;margin:28px 0 8px}
p{margin:0 0 10px;max-width:72ch}
a{color:inherit}
code,pre,.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.88em;
overflow-wrap:anywhere}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:10px 12px;margin:8px 0 0;
white-space:pre-wrap;max-height:22em;overflow:auto}
.muted,.lead{color:var(--muted)}
.lead{margin-bottom:16px}
.empty{color:var(--muted);border:1px dashed var(--line);border-radius:6px;padding:12px 16px;max-width:none}
.hero{margin-top:16px;border:1px solid var(--line);border-left:6px solid var(--tone);border-radius:8px;
background:var(--tint);padding:28px 32px}
.hero .top{display:flex;align-items:center;gap:20px;flex-wrap:wrap}
.hero h1{font-size:42px;font-weight:750;letter-spacing:-.02em;color:var(--tone)}
.hero .mark{width:52px;height:52px;color:var(--tone);flex:none}
.score{margin-left:auto;width:230px}
.score b{font-size:22px;font-weight:700}
.meter{height:8px;border-radius:4px;background:var(--line);overflow:hidden;margin-top:4px}
.meter i{display:block;height:100%;border-radius:4px;background:var(--tone,var(--shadow))}
.hero ul{margin:20px 0 0;padding:0;list-style:none}
.hero li{padding:5px 0 5px 18px;position:relative;max-width:85ch;overflow-wrap:anywhere}
.hero li::before{content:"";position:absolute;left:0;top:.92em;width:8px;height:2px;background:var(--tone)}
.hero li::first-letter{text-transform:uppercase}
.facts{display:flex;flex-wrap:wrap;gap:14px 36px;margin:20px 0 0;padding:0}
.facts div{min-width:0}
.facts dt{font-size:12.5px;color:var(--muted)}
.facts dd{margin:0;font-size:17px;font-weight:600;overflow-wrap:anywhere}
.pass{--tone:var(--good);--tint:var(--goodbg)}
.fail{--tone:var(--bad);--tint:var(--badbg)}
.inconclusive{--tone:var(--warn);--tint:var(--warnbg)}
.tag{display:inline-flex;align-items:center;gap:5px;font-size:12.5px;font-weight:600;color:var(--tone,var(--muted));
white-space:nowrap}
.tag svg{width:14px;height:14px;flex:none}
.pill{border:1px solid currentColor;border-radius:10px;padding:0 8px;font-size:12px;font-weight:600;line-height:19px;
color:var(--tone,var(--muted));white-space:nowrap;display:inline-block}
.scroll{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:14px;margin:8px 0 0}
th{font-size:12.5px;font-weight:600;color:var(--muted);text-align:left;border-bottom:1px solid var(--line);
padding:6px 12px 6px 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:9px 12px 9px 0;vertical-align:top;overflow-wrap:anywhere}
th:last-child,td:last-child{padding-right:0}
th.n,td.n{text-align:right;white-space:nowrap}
td.where{min-width:150px}
.points{width:160px;height:8px;margin-top:7px}
td.keep,th.keep{white-space:nowrap}
td .what{font-weight:600}
td .say{color:var(--muted);display:block;font-size:13.5px}
td .code{font-size:12.5px}
td.value{max-width:210px;min-width:110px}
.ledger td{padding-top:4px;padding-bottom:4px}
.ledger tr.sub td{color:var(--muted);border-bottom-style:dotted;font-size:13px}
.ledger tr.sub td:first-child{padding-left:20px}
tr.sum td{font-weight:650}
.after{margin-top:14px;color:var(--muted);font-size:14px;max-width:none}
details{margin-top:14px}
summary{cursor:pointer;color:var(--muted);font-size:14px}
summary:hover{color:var(--text)}
summary .tag,summary .pill{margin-right:6px}
ul.plain{margin:8px 0 0;padding-left:18px;max-width:78ch}
ul.plain li{margin-bottom:6px;overflow-wrap:anywhere}
.sign{border:1px solid var(--line);border-radius:8px;padding:12px 16px;margin-top:12px}
.sign.new{border-left:4px solid var(--bad)}
.sign .title{font-weight:600;overflow-wrap:anywhere;margin-left:8px}
.sign .say{color:var(--muted);font-size:13.5px;margin-top:4px;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:13px;color:var(--muted);margin:8px 0 4px}
.legend span{min-width:0;display:inline-flex;align-items:center;gap:6px}
.legend svg{width:22px;height:12px;flex:none}
.legend i{width:11px;height:11px;border-radius:2px;flex:none;background:var(--fill)}
figure{margin:10px 0 0}
figcaption{font-size:13px;color:var(--muted);margin-top:6px;max-width:78ch}
svg{display:block;overflow:visible}
svg text{font-family:inherit;fill:var(--text);font-size:12px}
.plot,.bar{width:100%;height:auto}
.narrow{display:none}
.spark{width:190px;height:34px}
.tick,.tiny{fill:var(--muted)!important}.tiny{font-size:10.5px!important}
.strong{fill:var(--text)!important;font-weight:650}
.name{font-weight:650;font-size:13px!important}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--muted);stroke-width:1}
.pa{fill:var(--prod);fill-opacity:.26}.sa{fill:var(--shadow);fill-opacity:.1}
.pl,.sl,.fit{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.pl{stroke:var(--prod)}.sl{stroke:var(--shadow)}
.dash{stroke-dasharray:5 4;stroke-width:1.6}.thin{stroke-width:1.5}
.median{stroke-width:1.2;stroke-dasharray:2 3}
.solo{fill:currentColor}.pl.solo{fill:var(--prod)}.sl.solo{fill:var(--shadow)}
.pd{fill:var(--prod)}.sd{fill:var(--shadow)}
.hollow{fill:var(--page);stroke-width:2}.pd.hollow{stroke:var(--prod)}.sd.hollow{stroke:var(--shadow)}
.pt{fill:var(--prod)!important}.st{fill:var(--shadow)!important}
.fit{stroke:var(--text);stroke-width:1.5;stroke-dasharray:6 4}.band{fill:var(--text);fill-opacity:.13}
.worse{fill:var(--bad)}.differs{fill:var(--warn);fill-opacity:.55}
.beyond{fill:var(--text);fill-opacity:.07}.zero{stroke:var(--line);stroke-width:1.5}
.margin{stroke:var(--text);stroke-width:1.5}
.reach{fill:var(--tone);fill-opacity:.55}.effect{fill:var(--tone)}
.l-mirrored{fill:var(--good);--fill:var(--good)}.l-filtered{fill:var(--line);--fill:var(--line)}
.l-in_flight{fill:var(--prod);--fill:var(--prod)}.l-lost{fill:var(--text);--fill:var(--text)}
.l-shed{fill:var(--warn);--fill:var(--warn)}.l-failed{fill:var(--bad);--fill:var(--bad)}
nav{margin-top:20px;font-size:13.5px;display:flex;flex-wrap:wrap;gap:2px 18px}
nav a{color:var(--muted);text-decoration:none}
nav a:hover{text-decoration:underline}
footer{margin-top:56px;padding-bottom:40px;font-size:13px;color:var(--muted)}
footer p{border-top:1px solid var(--line);padding-top:14px;max-width:none}
@media screen and (max-width:720px){
main,header,footer{padding-left:18px;padding-right:18px}
header{padding-top:18px}
.hero{padding:20px 18px}.hero h1{font-size:34px}.hero .mark{width:42px;height:42px}.hero .top{gap:14px}
.score{margin-left:0;width:100%}
h2{margin-top:44px}
.wide{display:none}.narrow{display:block}
.narrow .plot{max-width:520px}
}
@media screen and (max-width:940px){
table.cards,table.cards tbody,table.cards tr,table.cards td{display:block;width:auto}
table.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.cards tr{border:1px solid var(--line);border-radius:8px;padding:10px 14px;margin-top:10px}
table.cards td,table.cards td.n{border:0;padding:3px 0;text-align:left;white-space:normal;max-width:none}
table.cards td[data-name]{display:grid;grid-template-columns:112px minmax(0,1fr);gap:10px}
table.cards td[data-name]::before{content:attr(data-name);color:var(--muted);font-size:12.5px;line-height:1.7}
table.cards td:empty{display:none}
}
@media print{
body{font-size:10.5pt}
main,header,footer{max-width:none;padding:0}
header{padding-top:0}nav{display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
h2,h3,h3+p,.lead,section>p:has(+figure){break-after:avoid}h2{margin-top:28px}
tr,figure,.sign,.hero{break-inside:avoid}
pre{max-height:none}
.scroll{overflow:visible}
details::details-content{content-visibility:visible;height:auto}
summary{list-style:none}
@page{margin:16mm}
}
"""
