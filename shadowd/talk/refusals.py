"""Refusals in prose: whether an answer begins by declining (sans-IO).

Interfaces have signs for refusals (``Message.refusal``, finish reasons), and many models use none of them: they say it.
What is recognised is an *opening*, in the first LOOKED characters of the text, after what has been thought aloud:
perhaps an apology or "I understand …, but", then that the speaker will not or cannot do one of the things that models
decline to do (help, provide, answer, write …). What follows later in the answer, an apology alone ("Sorry for the
delay"), a failure ("I can't find the order") and figures of speech ("I can't wait", "can't recommend it enough") are
none.

It is a measure, not a reader: both sides and the baseline are measured alike, so what it misses it misses everywhere,
and what it takes wrongly is noise like any other. ``--refusal REGEX`` adds an operator's own words.
"""

from __future__ import annotations

import re
import unicodedata

from shadowd.exchange.patterns import compiled

#: Characters of the text, after normalisation, in which an opening begins and ends: two sentences.
LOOKED = 200
#: Characters of the text that an operator's own pattern is searched in: Python's engine has no bound of its own.
SEARCHED = 1000
#: Characters that are normalised to find LOOKED: quotes and marks are left out on the way.
_TAKEN = 400
_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>.{0,200000}?</\1>", re.DOTALL)
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´＇′", "'") | dict.fromkeys("…", "."))
_MARKS = re.compile(r"[\s*_#>~\-–—•|\ufe0f\u200b-\u200f]+")
_QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»", "「": "」", "『": "』", "'": "'"}


def declines(text: str, own: str = "") -> bool:
    """Whether ``text`` begins with a refusal, or ``own``, a regex of the operator's, is found near its beginning."""
    if not text:
        return False
    thought = _THOUGHT.match(text)
    said = text[thought.end() :] if thought else text
    if own:
        pattern = compiled(own.encode(), ignore_case=True, utf8=True)
        if pattern.search(said[:SEARCHED].encode("utf-8", "replace")) is not None:
            return True
    return _OPENING.match(normalised(said)) is not None


def normalised(text: str) -> str:
    """The beginning of ``text`` in one form: no marks before it, no quotes around all of it, plain apostrophes, one
    blank where there are many, no case."""
    whole = text.strip()
    begin = unicodedata.normalize("NFKC", whole[:_TAKEN]).translate(_APOSTROPHES)
    begin = begin[_length(_MARKS.match(begin)) :]
    while begin and unicodedata.category(begin[0]) in ("So", "Sk", "Mn", "Cf"):  # emoji
        begin = begin[1:].lstrip()
    quote = begin[:1]
    if quote in _QUOTES and quote:
        if whole[-1] not in _QUOTES[quote]:
            return begin.casefold()[:LOOKED]  # somebody else is quoted
        begin = begin[1:]
    return " ".join(begin.replace("*", "").casefold().split())[:LOOKED]


def _length(found: re.Match[str] | None) -> int:
    return found.end() if found is not None else 0


# --- openings ---------------------------------------------------------------------------------------------------------
# One expression a language: what may come before (never required), then what declines. Every repetition has a bound:
# the costliest beginning known takes 1.4 ms, an ordinary one 20 µs.

_PAUSE = r"[\s,.;:!—–-]*"

_ENGLISH_VERBS = r"""(?:
    (?:help|assist)(?!\s(?:but|it|myself|ourselves|(?:wonder|notic|think|feel|laugh|smil|admir|fall|be|lov|agree|imagin|add)ing)\b)\b
    | comply\b | fulfil | accommodate\s(?:this|that|your|such)\b | engage\s(?:in|with)\b | participate\sin\b
    | (?:share|send|supply)\s(?:you\s|with\syou\s)?(?:that|this|those|these|any|such|personal|private
      |confidential|internal|specific|sensitive|details|information|your|their|his|her|my|our|instructions)\b
    | (?:provide|give|offer)\b(?!.{0,40}\b(?:exact|precise|definit|guarantee|better|enough|100))
    | answer\b(?!.{0,40}\b(?:certain|sure\b|definitive|better)) | respond\sto\s(?:this|that|your|such)\b
    | (?:discuss|comment\son|talk\sabout|speak\s(?:to|about)|advise|opine)\b
    | recommend\b(?!.{0,80}\benough\b) | (?:endorse|promote|encourage|condone|facilitate|enable)\b(?!.{0,80}\benough\b)
    | (?:create|generate|write|draft|compose|produce|develop|craft|translate|summari[sz]e|rewrite)\b
    | (?:do|fulfill|complete|process|handle|support|perform|carry\sout|proceed\swith|continue(?:\swith)?)
      \s(?:this|that|your|such|the)\s(?:request|task|action|conversation|discussion|roleplay|story|kind|sort|type)
    | continue\swith\s(?:this|that)\b
    | do\s(?:this|that|so)\s*(?:[.,;!]|$|for\syou|because|as\b|but\b)
    | (?:tell|show|teach|instruct|guide|walk)\syou\s(?:how\sto|through)\b | (?:explain|describe)\show\sto\b
    | (?:disclose|reveal|divulge)\b | (?:role-?play|pretend|impersonate)\b | (?:diagnose|prescribe)\b
    | (?:browse|access)\sthe\s(?:internet|web)\b
    | identify\s(?:people|individuals|persons|real|the\sperson|this\sperson|anyone|who)\b
    | make\s(?:this|that|such)\s(?:content|material|statement|decision|judg)
)"""
_SELF = r"(?:as|i'm|i\sam)\s(?:just\s|only\s)?an?\s[^.!?,]{0,40}\b(?:ai|model|assistant|chatbot)\b[^.!?,]{0,60}"
_ENGLISH = rf"""
    (?:(?:hi|hello|hey|no|hmm|oh|well|thanks?(?:\syou)?[^.!?,]{{0,60}}|{_SELF})\b{_PAUSE})?
    (?:(?:i'm|i\sam|we're|we\sare)?\s*(?:(?:very|really|so|truly|terribly|deeply)\s)?
       (?:sorry|apologies|my\sapologies|i\sapologi[sz]e|we\sapologi[sz]e|unfortunately|regrettably|i\sregret)
       (?:\s(?:about|for)\s(?:that|this|any\sinconvenience|the\sinconvenience)|\s(?:that|to)\s[^.!?]{{0,80}}?(?=,\sbut))?\b{_PAUSE}
       (?:\w{{1,20}}[.,!]\s)?)?
    (?:(?:while\s|although\s)?(?:i|we)\s(?:(?:completely|fully|really|do)\s)?(?:understand|appreciate|hear|know|see|realize|recogni[sz]e)\b
       [^.!?]{{0,110}}[.,;!]{_PAUSE})?
    (?:(?:but|however|though|yet|and|that|because|so|unfortunately|sorry)\b{_PAUSE}){{0,2}}
    (?:{_SELF},\s|i(?:'m|\sam)\s(?:programmed|designed|trained|here)\s[^.!?]{{0,90}}[.,;]\s(?:and\s|so\s|but\s)?)?
    (?:i(?:'m|\sam)\safraid\s(?:that\s)?)?
    (?:
      (?:i|we(?!.{{0,30}}\b(?:create|generate|write|draft|compose|produce|develop|craft|enable|summari|rewrite)))\s*
        (?:simply\s|really\s|just\s|also\s)?
        (?!.{{0,80}}\b(?:without|until|unless)\b)(?:(?:can't|cannot)\sand\s(?:won't|will\snot)|can't|cannot|can\snot|cant|won't|will\snot
          |could\snot|couldn't|am\s(?:not\sable|unable)\sto|'m\s(?:not\sable|unable)\sto
          |are\s(?:not\sable|unable)\sto|'re\s(?:not\sable|unable)\sto|am\snot\sgoing\sto|'m\snot\sgoing\sto
          |am\snot\s(?:allowed|permitted|authorized|authorised|programmed|designed|equipped|qualified)\sto
          |'m\snot\s(?:allowed|permitted|authorized|authorised|programmed|designed|equipped|qualified)\sto
          |(?:won't|will\snot)\sbe\sable\sto|shouldn't|should\snot|don't\sthink\si\s(?:can|should)|mustn't
          |do\snot\sfeel\scomfortable|don't\sfeel\scomfortable)
        \s(?:really\s|directly\s|actually\s|ethically\s|legally\s|in\sgood\sconscience,?\s)?{_ENGLISH_VERBS}
      | (?:i|we)\s(?:must|have\sto|need\sto|respectfully|'ll\shave\sto|will\shave\sto)\s(?:respectfully\s|politely\s)?
        (?:decline|refuse)\b
      | i(?:'m|\sam)\sgoing\sto\shave\sto\s(?:decline|refuse)\b
      | i(?:'d|\swould)\s(?:rather|prefer)\snot\s(?:to\s)?{_ENGLISH_VERBS}
      | i\s(?:do\snot|don't)\s(?:provide|assist|engage|discuss|comply|generate)\b
      | i\s(?:do\snot|don't)\shave\s(?:the\s)?(?:permission|authori[sz]ation|authority)\sto\s{_ENGLISH_VERBS}
      | (?:i\smust\s|i\s)?(?:decline|refuse)\sto\s{_ENGLISH_VERBS}
      | i(?:'m|\sam)\snot\scomfortable\s(?:with|\w+ing)\b | i\sdo(?:n't|\snot)\sfeel\scomfortable\s\w+ing\b
      | unable\sto\s{_ENGLISH_VERBS}
      | (?:that|this|it)(?:'s|\sis)\s(?:not|n't)\s(?:something|a\s(?:topic|request|task|subject))\s(?:that\s)?(?:i|we)
        (?:\scan|'m\sable\sto|\sam\sable\sto|'m\swilling\sto|\sam\swilling\sto|\sare\sable\sto)\b
      | (?:that|this|it)(?:'s|\sis)\s(?:something|a\s(?:topic|request|task|subject))\s(?:that\s)?(?:i|we)
        (?:\scan't|\scannot|\swon't|'m\s(?:not\sable|unable)\sto|\sam\s(?:not\sable|unable)\sto)\s{_ENGLISH_VERBS}
      | (?:i|we)\s(?:can't|cannot|won't|will\snot)(?:\sdo\s(?:that|this|it))?\s*[.!]
      | (?:this|that|your|the)\s(?:request|question|prompt|content|topic)\s
        (?:appears\sto\s|seems\sto\s|would\s|may\s|might\s)?(?:violates?|goes?\sagainst|is\sagainst|falls?\soutside|is\soutside|conflicts?\swith)\b
        .{{0,50}}\b(?:guideline|polic|terms|rules|standard|principle|scope|what\si\s)
      | (?:it|that|this)(?:'s|\sis|\swould\sbe|\swould)\s(?:against|in\sviolation\sof|violate)\s
        (?:(?:my|our)\s(?:\w+\s)?(?:guidelines|polic|rules|programming|principles|terms)|the\s(?:\w+\s)?(?:guidelines|polic))
      | it\s(?:(?:would\sbe|is|'s)\s(?:not\s(?:appropriate|ethical|right|safe)|inappropriate|unethical|unsafe)
        |(?:wouldn't\sbe|isn't)\s(?:appropriate|ethical|right|safe))\sfor\sme\sto\b
    )"""

_OTHERS = {
    "Spanish": r"""
        (?:(?:lo\ssiento|lo\slamento|lamento|perd[oó]n|disculp[ae]\w*|mis\sdisculpas|desafortunadamente|lamentablemente
           |por\sdesgracia|me\stemo|como\s(?:una?\s)?(?:ia|modelo|asistente)[^.!?,]{0,60})
           (?:\s(?:mucho|informarte\sque|informarle\sque|decirte\sque|decirle\sque))?[\s,.;:—-]*)?
        (?:(?:entiendo|comprendo)[^.!?]{0,100}[.,;]\s)?(?:(?:pero|sin\sembargo|que|,)[\s,]*){0,2}
        (?:como\s(?:una?\s)?(?:ia|modelo|asistente)[^.!?]{0,60}?\s)?(?:yo\s)?(?:no\s(?:me\ses\sposible|te\spuedo|le\spuedo|les\spuedo|puedo|podemos|podr[eé]|soy\scapaz\sde
           |estoy\s(?:autorizad[oa]|capacitad[oa])\s(?:a|para)|debo|voy\sa)
           \s(?:ayudar|asistir|proporcionar|dar(?:te|le)?\s(?!.{0,30}exact)|ofrecer|facilitar|responder(?!.{0,30}certeza)
           |contestar|compartir|cumplir|realizar\sesa|realizar\sesta|hacer\s(?:eso|esto)|escribir|crear|generar|redactar
           |hablar\s(?:de|sobre)|discutir|comentar|atender|participar|revelar|recomendar(?!.{0,60}(?:suficiente|bastante|lo\sbastante)))
          |debo\srechazar|tengo\sque\srechazar|me\sniego\sa|no\sest[aá]\spermitido\s|(?:esta|tu|su)\ssolicitud\s(?:va\sen\scontra|infringe|viola))""",
    "French": r"""
        (?:(?:je\s(?:suis|m'excuse)\s?(?:vraiment\s|sincèrement\s|profondément\s)?(?:désolée?)?|désolée?|pardon|excusez-moi
           |toutes\smes\sexcuses|mes\sexcuses|malheureusement|je\sregrette|je\ssuis\sau\sregret
           |en\stant\sque?\s?(?:qu')?(?:\s?ia|\s?modèle|\s?assistant)?[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:je\scomprends[^.!?]{0,100}[.,;]\s)?(?:(?:mais|cependant|toutefois|que)[\s,]*){0,2}
        (?:(?:je|nous)\s(?:ne\s(?:vous\s|t'|te\s)?(?:peux|pouvons|puis|suis|sommes|pourrai|dois|vais|souhaite|saurais)
           (?:\s(?:malheureusement|donc|vraiment|absolument))?(?:\spas)?
           |(?:peux|pouvons|suis|sommes|pourrai|vais)(?:\s(?:malheureusement|vraiment|absolument))?\spas)
           (?:\s(?:en\smesure\sde|capable\sde|autorisée?\sà|habilitée?\sà))?\s(?:vous\s|t'|te\s|y\s)?
           (?:aider|assister|fournir|donner(?!.{0,30}exact)|proposer|offrir|répondre(?!.{0,30}certitude)|partager|accéder\sà
           |satisfaire|faire\s(?:cela|ça)|écrire|rédiger|créer|générer|produire|discuter|parler|commenter|participer|divulguer
           |révéler|recommander(?!.{0,60}assez))
          |je\sdois\s(?:refuser|décliner)|je\srefuse\s(?:de|d')|je\scrains\sde\sne\spas\spouvoir\b|je\ssuis\sdans\sl'impossibilité\sde\b
          |(?:cette|votre)\sdemande\s(?:est\scontraire|enfreint|viole|va\sà\sl'encontre))""",
    "German": r"""
        (?:(?:es\stut\smir\s(?:sehr\s|wirklich\s)?leid|tut\smir\s(?:sehr\s)?leid|entschuldigung|entschuldige|entschuldigen\ssie|verzeihung
           |leider|bedauerlicherweise|ich\sbedauere?|ich\sbitte\sum\s(?:entschuldigung|verständnis)
           |als\s(?:ki|sprachmodell|künstliche|assistent)[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:ich\sverstehe[^.!?]{0,100}[.,;]\s)?(?:(?:aber|jedoch|dass|doch|leider)[\s,]*){0,2}
        (?:(?:das|dies|dabei|damit|dazu|hier|hierbei|hierzu|darauf|darüber|diese\s\w{1,20}|so\setwas)\s)?
        (?:(?:(?:ich|wir)\s(?:kann|können|darf|dürfen|werde|möchte)|(?:kann|können|darf|dürfen|werde|möchte)\s(?:ich|wir))\s
           (?!.{0,80}\b(?:genug|exakt|erwarten|abwarten|nicht\snur)\b)[^.!?,]{0,90}?\b(?:nicht|keine?n?|keinerlei|nichts)\b[^.!?,]{0,70}?
           \b(?:helfen|weiterhelfen|behilflich|unterstützen|beantworten|antworten|bereitstellen|geben|anbieten|teilen|erfüllen
           |nachkommen|schreiben|verfassen|erstellen|generieren|erzeugen|diskutieren|sprechen|äußern|mitteilen|preisgeben
           |durchführen|dienen|empfehlen|entsprechen|tun|machen|weitergeben
           |herausgeben|verraten|offenlegen|nennen)\b
          |(?:ich\sbin|bin\sich)\snicht\s(?:in\sder\slage|befugt|berechtigt|dazu\sbestimmt)[\s,]
          |(?:ich\smuss|muss\sich)\s[^.!?]{0,60}ablehnen|ich\slehne\s[^.!?]{0,40}ab
          |(?:diese|ihre|deine)\sanfrage\s(?:verstößt|widerspricht|kann\snicht\sbeantwortet))""",
    "Portuguese": r"""
        (?:(?:sinto\smuito|lamento(?:\smuito)?|desculp[ae]\w*|me\sdesculpe|perdão|infelizmente|peço\sdesculpas?
           |como\s(?:uma?\s)?(?:ia|modelo|assistente|inteligência)[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:(?:entendo|compreendo)[^.!?]{0,100}[.,;]\s)?(?:(?:mas|porém|no\sentanto|que)[\s,]*){0,2}
        (?:eu\s)?(?:não\s(?:me\sé\spossível|te\sposso|lhe\sposso|posso|podemos|poderei|consigo|sou\scapaz\sde
           |estou\s(?:autorizad[oa]|apt[oa])\sa|devo|vou)
           \s(?:te\s|lhe\s|o\s|a\s)?(?:ajudar|auxiliar|fornecer|dar\s(?!.{0,30}exat)|oferecer|responder(?!.{0,30}certeza)|compartilhar
           |partilhar|cumprir|atender|realizar\sess|realizar\sest|fazer\sisso|escrever|criar|gerar|redigir|falar\ssobre|discutir
           |comentar|participar|revelar|recomendar(?!.{0,60}(?:suficiente|bastante)))
          |(?:devo|tenho\sque|preciso)\srecusar|recuso-me\sa|(?:esta|essa|sua)\ssolicitação\s(?:viola|vai\scontra))""",
    "Italian": r"""
        (?:(?:mi\s(?:di)?spiace(?:\smolto)?|sono\s(?:molto\s)?spiacente|spiacente|scusa(?:mi)?|mi\sscuso|purtroppo|sfortunatamente
           |in\squanto\s(?:ia|modello|assistente|intelligenza)[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:(?:capisco|comprendo)[^.!?]{0,100}[.,;]\s)?(?:(?:ma|però|tuttavia|che)[\s,]*){0,2}
        (?:io\s)?(?:non\s(?:mi\sè\spossibile|ti\sposso|vi\sposso|le\sposso|posso|possiamo|potrò|sono\sin\sgrado\sdi
           |sono\sautorizzat[oa]\sa|devo|intendo)
           \s(?:aiutar|assister|fornir|dar(?:e|ti|le)\s(?!.{0,30}esatt)|offrir|risponder(?!.{0,30}certezza)|condivider|soddisfar
           |far(?:e|lo)\s?(?:questo)?[.,;]|scriver|crear|generar|rediger|parlar|discuter|commentar|partecipar|rivelar
           |consigliar(?!.{0,60}abbastanza))
          |devo\srifiutar|mi\srifiuto\sdi|(?:questa|la\stua|la\ssua)\srichiesta\s(?:viola|va\scontro))""",
    "Dutch": r"""
        (?:(?:het\sspijt\s(?:me|mij|ons)|sorry|excuses|mijn\sexcuses|helaas|jammer\sgenoeg|als\s(?:ai|taalmodel|een\sai)[^.!?,]{0,60})
           [\s,.;:—-]*)?
        (?:ik\sbegrijp[^.!?]{0,100}[.,;]\s)?(?:(?:maar|echter|dat)[\s,]*){0,2}
        (?:(?:dat|dit|daar|hier|hiermee|daarmee|daarbij|hierbij)\s)?
        (?:(?:(?:ik|we|wij)\s(?:kan|kunnen|mag|zal|wil)|(?:kan|kunnen|mag|zal|wil)\s(?:ik|we|wij))\s
           (?!.{0,80}\b(?:genoeg|wachten|exact|niet\salleen)\b)[^.!?,]{0,80}?\b(?:niet|geen|niets)\b[^.!?,]{0,60}?
           \b(?:helpen|assisteren|geven|verstrekken|bieden|beantwoorden|antwoorden|delen|voldoen|schrijven|maken|genereren|bespreken
           |praten|uitvoeren|meewerken|doen|adviseren|aanbevelen)\b
          |(?:ik\sben|ben\sik)\sniet\s(?:in\sstaat|bevoegd|gemachtigd)\b|ik\smoet\s[^.!?]{0,50}weigeren
          |(?:dit|je|uw|jouw)\sverzoek\s(?:is\sin\sstrijd|schendt))""",
    "Polish": r"""
        (?:(?:(?:bardzo\s)?(?:przepraszam|przykro\smi)|niestety|wybacz|jako\s(?:model|asystent|sztuczna|ai)[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:rozumiem[^.!?]{0,100}[.,;]\s)?(?:(?:ale|jednak|że)[\s,]*){0,2}
        (?:nie\s(?:mogę|możemy|jestem\sw\sstanie|mam\smożliwości|będę|wolno\smi)\s(?:ci\s|panu\s|pani\s|w\stym\s)?
           (?:pom[oó][cż]|udzieli|podać\s(?!.{0,30}dokładn)|dostarczy|odpowiedzie|spełni|napisa|stworzy|wygenerowa|udostępni|rozmawia
           |omawia|doradz|zrealizowa|zrobi[ćc]\stego|ujawni)
          |muszę\sodmówić|odmawiam|(?:ta|twoja)\sprośba\snarusza)""",
    "Russian": r"""
        (?:(?:извините|простите|прошу\sпрощения|мне\s(?:очень\s)?жаль|к\sсожалению|приношу\s(?:свои\s)?извинения
           |как\s(?:языковая|ии|искусственный|ассистент)[^.!?,]{0,60})[\s,.;:—-]*)?
        (?:(?:я\s)?понимаю[^.!?]{0,100}[.,;]\s)?(?:(?:но|однако|что)[\s,]*){0,2}
        (?:(?:я|мы)\s)?(?:не\s(?:могу|можем|смогу|сможем|буду|имею\sправа|в\sсостоянии|вправе)\s(?:вам\s|тебе\s|с\sэтим\s|этого\s|на\sэто\s|это\s)?
           (?:помо[чг]|предостав|дать\s(?!.{0,30}точн)|ответить|отвечать|выполнить|написать|создать|сгенерировать|поделиться|обсужд
           |говорить\s(?:о|об)\s|рассказать\sвам,?\sкак|комментир|консультир|раскры|рекомендовать|сделать)
          |[^.!?,]{0,30}\b(?:помочь|ответить)\s(?:вам\s)?не\s(?:могу|можем|смогу)|вынужден[а]?\sотказать|отказываюсь|(?:этот|ваш)\sзапрос\sнарушает)""",
    "Turkish": r"""
        (?:(?:üzgünüm|özür\sdilerim|kusura\sbakma(?:yın)?|maalesef|ne\syazık\ski)[\s,.;:—-]*)?(?:(?:ama|ancak|fakat)[\s,]*)?
        [^.!?]{0,90}?\b(?:yardımcı\solamam|yardımcı\solamıyorum|yardım\sedemem|yardım\sedemiyorum|yerine\sgetiremem
           |yanıtlayamam|cevaplayamam|sağlayamam|veremem|yazamam|oluşturamam|paylaşamam)\b""",
    "Chinese": r"""
        (?:(?:非常|很|十分|真的)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)[\s,.;:!。、，；：！]*)?
        (?:(?:我|作为)[^。.!！]{0,30}(?:理解|明白|了解|人工智能|ai|语言模型|語言模型)[^。.!！]{0,40}[,，。.]\s*)?
        (?:但是?|不过|不過|然而)?[,，]?\s*
        (?:(?:这|這|该|該|此|您的|你的|对于|對於|关于|關於)[^。.!！,，]{0,15}[,，]?\s*(?=我))?
        (?:我|我们|我們|本人)?(?:目前|暂时|暫時|恐怕|真的)?
        (?:无法|無法|不能|不可以|不便|没办法|沒辦法|没有办法|不会|不會|拒绝|拒絕)
        (?:直接)?(?:为|為|给|給|向|对|對|就|在)?(?:您|你|此|这|這|该|該)?[^。.!！]{0,16}?
        (?:提供|帮助|幫助|协助|協助|回答|回应|回應|满足|滿足|完成(?:这|這|您|你|该|該)|讨论|討論|分享|生成|撰写|撰寫|创作|創作|编写
           |透露|给出建议|執行(?:这|這|您|你)|执行(?:这|您|你)|继续(?:这|该)|支持(?:这|您))(?!.{0,12}(?:准确|精确|更好))""",
    "Japanese": r"""
        (?:(?:大変|誠に|本当に)?(?:申し訳(?:ございません|ありません|ない)|すみません|すいません|ごめんなさい|恐れ入ります|恐縮です|残念ながら)
           (?:が|けど|けれど)?[\s、。,.]*)?(?:しかし|ただし|ですが)?[、,]?\s*
        (?:それは|そのような(?:こと|ご?要望|ご?依頼|内容)は|その(?:リクエスト|ご?要望|ご?依頼)は)(?:できません|できかねます|いたしかねます)
        |(?:(?:大変|誠に|本当に)?(?:申し訳(?:ございません|ありません)|すみません|ごめんなさい|恐れ入ります|残念ながら)(?:が)?[\s、。]*)?
        [^。.!]{0,60}?
        (?:お手伝い|お答え|回答|ご?提供|お力(?:になる|添え)|サポート|対応|支援|お応え|作成|生成|執筆|共有|開示|お教え|ご案内|応じる|お話し|手助け)
        (?:する)?(?:こと)?(?:は|が|を|も|に)?
        (?:できません|出来ません|できかねます|致しかねます|いたしかねます|かねます|しかねます|できない|いたしません)""",
    "Korean": r"""
        (?:(?:정말\s|대단히\s)?(?:죄송(?:합니다|하지만|해요|합니다만)|미안(?:합니다|하지만|해요)|유감(?:입니다|스럽게도)|안타깝지만|아쉽지만)[\s,.]*)?
        (?:하지만|그러나)?[\s,]*[^.!?]{0,60}?
        (?:도와\s?드릴|도움(?:을|이)?\s?(?:드릴|될|줄)|답변(?:을|해)?\s?(?:드릴|할)|대답(?:을|해)?\s?(?:드릴|할)|제공(?:해|할|을)?\s?(?:드릴|할)?
           |지원(?:해|할)?\s?(?:드릴|할)?|응(?:할|해\s?드릴)|작성(?:해|할)?\s?(?:드릴|할)?|생성(?:할|해\s?드릴)|공유(?:할|해\s?드릴)|수행(?:할|해\s?드릴)
           |알려\s?드릴|처리(?:할|해\s?드릴))\s?(?:수\s?(?:는|가)?\s?없|순\s?없)""",
    "Arabic": r"""
        (?:(?:أنا\s)?(?:آسف|آسفة|عذرا|عذرًا|عذراً|أعتذر|معذرة|نأسف|للأسف|يؤسفني|المعذرة)[\s،,.:؛]*(?:على\sذلك)?[\s،,.]*)?
        (?:(?:ولكن|لكن|لكنني|ولكنني|لكني|ولكني|فإنني|أنني)[\s،,]*)?
        (?:أنا\s)?(?:لا\s(?:أستطيع|استطيع|يمكنني|يمكننا|أقدر|نستطيع|يسعني)|لن\s(?:أستطيع|أتمكن\sمن|أقوم)|لست\sقادرا?\sعلى
           |غير\sقادر\sعلى|أرفض)\s(?:أن\s)?
        (?:مساعد|ال?مساعدة|أساعد|تقديم|أقدم|توفير|الإجابة|الرد|إجابة|الرد|تلبية|كتابة|أكتب|إنشاء|مشاركة|مناقشة|القيام\sبذلك|تنفيذ\sهذا
           |المشاركة|الكشف|التعليق|إعطا)""",
    "Hindi": r"""
        (?:(?:मुझे\s)?(?:खेद|क्षमा|माफ|माफ़|अफ़सोस|अफसोस|सॉरी)[^,।.!]{0,20}[\s,।.]*)?(?:(?:लेकिन|परंतु|परन्तु|किंतु|पर|कि)[\s,]*)?
        मैं\s[^।.!?]{0,90}?
        (?:मदद|सहायता|उत्तर|जवाब|जानकारी|प्रदान|अनुरोध|लिख|बना|साझा|चर्चा|सलाह|बता)[^।.!?]{0,40}?
        (?:नहीं\s(?:कर|दे|लिख|बना|बता|रह|हो)\s?(?:सकता|सकती|सकते|पाऊँगा|पाऊंगा|पाऊँगी|पाऊंगी)|असमर्थ|अक्षम|नहीं\sकरूँगा|नहीं\sकरूंगा)""",
}
#: Languages whose openings are known.
LANGUAGES = ("English", *_OTHERS)
_OPENING = re.compile("|".join(f"(?:{one})" for one in (_ENGLISH, *_OTHERS.values())), re.VERBOSE)
