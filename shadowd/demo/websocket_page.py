"""The WebSocket demo's page: talk to the helpdesk from a browser.

One file, asks nobody but the service that it came from. With ``?auto=1`` it holds a conversation by itself; then
``<html data-state="over">``, and ``"failed"`` if it did not get the answers.
"""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Helpdesk</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1d2430; --dim: #5d6778; --line: #d5dae2;
  --mine: #1f5fbf; --on-mine: #fff; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14181f; --card: #1e242e; --text: #e6e9ef; --dim: #9aa4b5; --line: #38414f; --mine: #2b6bcf;
    --bad: #ff8a80; }
}
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; max-width: 44rem; margin: 0 auto; padding: 0 1rem;
  background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .75rem; padding: 1rem 0 .5rem; }
h1 { margin: 0; font-size: 1.25rem; }
#state { color: var(--dim); font-size: .875rem; }
#state.bad { color: var(--bad); }
#talk { flex: 1; overflow-y: auto; display: flex; flex-direction: column; gap: .5rem; margin: 0; padding: .75rem 0;
  list-style: none; border-top: 1px solid var(--line); }
#talk li { max-width: 85%; padding: .4rem .75rem; border: 1px solid var(--line); border-radius: .9rem;
  background: var(--card); overflow-wrap: anywhere; white-space: pre-wrap; }
#talk li.mine { align-self: flex-end; border-color: transparent; background: var(--mine); color: var(--on-mine); }
#talk li.theirs { align-self: flex-start; }
#talk li.bad { color: var(--bad); }
form { display: flex; flex-wrap: wrap; gap: .5rem; padding: .75rem 0 1rem; border-top: 1px solid var(--line); }
select, input, button { min-height: 2.75rem; padding: 0 .75rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); color: inherit; font: inherit; }
input { flex: 1 1 5rem; min-width: 0; }
select { flex: 0 1 auto; }
button { border-color: transparent; background: var(--mine); color: var(--on-mine); cursor: pointer; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 2px solid var(--mine); outline-offset: 2px; }
noscript { color: var(--bad); }
</style>
</head>
<body>
<header><h1>Helpdesk</h1><span id="state" role="status">not connected</span></header>
<noscript><p>This page talks over a WebSocket and needs scripts, which are off. Allow them for this page.</p></noscript>
<ol id="talk" aria-live="polite" aria-label="Conversation"></ol>
<form>
<select aria-label="What you want" name="kind">
<option value="ask">Is it there?</option>
<option value="price">Its price</option>
<option value="find">Find</option>
<option value="order">Order it</option>
</select>
<input name="words" value="17" maxlength="200" autocomplete="off" aria-label="The number of an item, or words">
<button disabled>Send</button>
</form>
<script>
"use strict";
const talk = document.getElementById("talk"), state = document.getElementById("state");
const form = document.querySelector("form"), send = form.querySelector("button");
const automatic = new URLSearchParams(location.search).has("auto");
const script = [["price", "17"], ["ask", "17"], ["find", "bolt"], ["price", "42"], ["ask", "42"], ["order", "42"]];
const money = cents => "$" + (cents / 100).toFixed(2);
let socket, answer = null;

function line(who, text) {
  const item = document.createElement("li");
  item.className = who;
  item.textContent = text;
  talk.append(item);
  talk.scrollTop = talk.scrollHeight;
  return item;
}
function tell(text, bad = false) {
  state.textContent = text;
  state.className = bad ? "bad" : "";
}
function ended(how) {
  document.documentElement.dataset.state = how;
}
function say(kind, words) {
  const item = parseInt(words, 10);
  const byNumber = kind === "price" || kind === "order";
  if (byNumber && !(item >= 0 && item < 1e9)) {
    line("theirs bad", "Give the number of an item, 17 for example.");
    return;
  }
  const shown = { price: `What does item ${item} cost?`, order: `I take item ${item}.`,
    find: `Do you have “${words}”?` };
  const text = kind === "find" ? words : /^\\d+$/.test(words) ? `Is item ${words} in stock?` : words;
  line("mine", shown[kind] || text);
  send.disabled = true;
  socket.send(JSON.stringify(byNumber ? { type: kind, item } : { type: kind, text }));
}
function hear(message) {
  switch (message.type) {
    case "token":
      answer = answer || line("theirs", "");
      answer.textContent += message.text;
      talk.scrollTop = talk.scrollHeight;
      return;
    case "done": answer = null; break;
    case "price": line("theirs", `${message.name}: ${money(message.cents)}`); break;
    case "found": line("theirs", message.items.map(one => `${one.item}: ${one.name}`).join("\\n")); break;
    case "ordered":
      line("theirs", `Order ${message.number}: ` + message.lines.map(one => `item ${one.item}`).join(" and ")
        + `, ${money(message.cents)}`);
      break;
    default: line("theirs bad", message.text || "?");
  }
  send.disabled = false;
  if (automatic) next();
}
function next() {
  if (script.length) say(...script.shift());
  else socket.close(1000);
}
function connect() {
  tell("connecting …");
  answer = null;
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/talk");
  socket.onopen = () => {
    tell("connected");
    send.disabled = false;
    if (automatic) next();
  };
  socket.onmessage = event => hear(JSON.parse(event.data));
  socket.onclose = event => {
    send.disabled = true;
    const well = event.code === 1000;
    tell(well ? "the conversation is over" : `the connection is lost (${event.code})`, !well);
    if (automatic) ended(well && !script.length ? "over" : "failed");
    else setTimeout(connect, 2000);
  };
}
form.addEventListener("submit", event => {
  event.preventDefault();
  if (!send.disabled) say(form.kind.value, form.words.value.trim());
});
connect();
</script>
</body>
</html>
""".encode()
