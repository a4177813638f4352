"""Secrets in XML and HTML, and in columns (sans-IO): what a tag, an attribute or a heading names.

Markup is looked through tag by tag and never parsed: what is cut off or malformed is found by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from shadowd.redact.addresses import is_word
from shadowd.redact.harmless import elsewhere, said
from shadowd.redact.names import SecretNames, tells, words_of
from shadowd.redact.secrets import Span

_TAG = re.compile(
    r"<!\[CDATA\[(?P<data>(?s:.)*?)(?:\]\]>|\Z)|<!--(?s:.)*?(?:-->|\Z)"
    r"|<(?P<close>/)?(?P<tag>[A-Za-z_](?:[\w.:-]){0,127}+)(?P<attributes>(?>(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*))>?"
)
_ATTRIBUTE = re.compile(
    r"(?P<name>[^\s\"'<>/=]{1,128}+)\s{0,8}=\s{0,8}(?:\"(?P<double>[^\"]*+)\"?|'(?P<single>[^']*+)'?|(?P<bare>[^\s\"'<>]++))"
)
MARKUP = re.compile(r"<[A-Za-z_!/]")
#: Attributes that name what another one, or the text, holds.
_LABELS = frozenset({"name", "id", "key", "property", "http-equiv", "type", "for", "formcontrolname", "itemprop", "n",
                     "autocomplete", "field", "param", "headername", "placeholder", "aria-label"})  # fmt: skip
_VALUES = frozenset({"value", "content", "val", "v", "data", "default", "text", "data-value", "string"})
#: Elements whose text names what the next element holds (property lists, XML-RPC, and the like).
_NAMING = frozenset(
    {"key", "name", "n", "field", "param", "headername", "fieldname", "dt", "th", "label", "td", "attribute",
     "param-name", "paramname", "env-entry-name", "header-name", "property-name", "propertyname", "attribute-name"}
)  # fmt: skip
_ASKING = frozenset({"input", "a", "button", "form", "select", "img", "script"})
_EMPTY = frozenset({"input", "meta", "link", "br", "img", "hr", "param", "add", "col", "source", "set"})


def marked_up(text: str, names: SecretNames) -> Iterator[Span]:
    """Text and CDATA inside a secret element, and values of secret attributes."""
    inside = ""  # the secret element around
    depth = 0
    once = False  # the next text is a secret's
    at = -1  # where text may begin
    naming = False
    opened = ""
    closes: dict[str, int] = {}  # where each tag is closed last
    before = False  # the text before was a name: what follows is its value
    label = ""  # the name of what is a secret
    likely = ""  # the name of what is a secret if it looks like one
    held: Span | None = None  # the text of a value just read: its name may follow
    for found in _TAG.finditer(text):
        if found["data"] is not None:
            if inside or once:
                yield found.span("data")
                once = False
            elif "<" in found["data"]:
                start = found.start("data")
                yield from (
                    (start + a, start + b) for a, b in marked_up(found["data"].replace("<![CDATA[", "         "), names)
                )
            at = found.end() if at >= 0 else at
            continue
        if at >= 0 and found.start() > at:
            span = _stripped(text, at, found.start())
            if span is not None:
                content = text[span[0] : span[1]]
                if inside or once:
                    if not ((naming and names.secret(content)) or said(label, unescape(content), names)):
                        yield span
                    once = False
                elif likely and tells(likely, content):
                    yield span
                likely = ""
                if naming and names.secret(unescape(content)):
                    once = held is None
                    if held is not None:
                        yield held
                elif naming and len(content) < 64 and names.weak(content):
                    likely = content
                if not naming:
                    held = span if opened in _VALUES and not before else None
                    before = False
                else:
                    before, held = held is None, None
        if not found["tag"]:
            continue
        tag = found["tag"].rpartition(":")[2]
        once = once and tag.lower() not in ("th", "tr")  # they name a column
        opened = "" if found["close"] else tag.lower()
        if found["close"]:
            at = found.end()
            naming = False
            if inside and tag == inside:
                depth -= 1
                inside = inside if depth else ""
            continue
        attributes = list(_ATTRIBUTE.finditer(text, found.start("attributes"), found.end("attributes")))
        secret = names.secret(tag)
        weak = tag if names.weak(tag) else ""
        label = tag if secret else label
        labelled = asked = False
        for attribute in attributes:
            if attribute["name"].lower().rpartition(":")[2] in _LABELS:
                name = _value(attribute)
                if names.secret(unescape(name[:160])):
                    labelled, label = True, name
                elif len(name) < 64 and names.weak(name):
                    weak = name
                # hidden inputs are as of a query
                asked = asked or (
                    attribute["name"] == "name" and tag.lower() == "input" and names.secret_parameter(name)
                )
        asked = asked and any(_value(attribute).lower() == "hidden" for attribute in attributes)
        for attribute in attributes:
            name, value = attribute["name"].rpartition(":")[2], _value(attribute)
            if not value or elsewhere(value):
                continue
            holds = name.lower().removeprefix("[").removesuffix("]") in _VALUES
            told = labelled or secret or inside or (weak and tells(weak, value)) or (asked and not is_word(value))
            session = name == "data-session" and not is_word(value)
            if (holds and told) or session or names.holds(name, value):
                yield _span(attribute)
        likely = weak or likely
        if once and tag.lower() in _ASKING and not secret:  # a label and its field: what is typed there is an attribute
            yield from (_span(a) for a in attributes if a["name"].lower() == "value" and _value(a))
            once = False
        at = found.end()
        naming = tag.lower() in _NAMING
        alone = found["attributes"].rstrip().endswith("/")
        if (secret or labelled) and not (alone or inside):
            closing = "</" + found["tag"]
            if closing not in closes:
                closes[closing] = text.rfind(closing)
            if closes[closing] < found.end():  # it is never closed: what follows at most is its text
                once = once or (secret and tag.lower() not in _EMPTY)
                alone = True
        if inside:
            depth += tag == inside and not alone
        elif (secret or (labelled and tag.lower() not in _CONTROLS)) and not alone:
            inside, depth = tag, 1
    if at >= 0 and (inside or once) and (span := _stripped(text, at, len(text))):
        yield span


_CELL = re.compile(
    r"(?i:<(?P<cell>t[rhd]))\b[^<>]{0,400}+>"
    r"(?>(?:\s{0,8}<(?:code|b|strong|span|kbd|tt|em|i|div|p|pre)\b[^<>]{0,200}+>){0,4})(?P<text>[^<]{0,2000}+)"
)


def tables(text: str, names: SecretNames) -> Iterator[Span]:
    """Cells of tables below a heading that is a secret name."""
    if "<th" not in text and "<TH" not in text:
        return
    headings: dict[int, str] = {}
    place = -1
    for found in _CELL.finditer(text):
        content = unescape(found["text"].strip())
        cell = found["cell"].lower()
        if cell == "tr":
            place = -1
            continue
        place += 1
        if cell == "th":
            if place == 0:
                headings = {}
            if len(content) < 64 and (names.secret(content) or names.weak(content)):
                headings[place] = content
        elif place in headings and content and names.holds(headings[place], content):
            yield _stripped(text, *found.span("text")) or found.span("text")


_CALL = re.compile(r"<methodName>\s{0,8}([\w.:/-]{1,100})\s{0,8}</methodName>")
_LOGS_IN = re.compile(
    r"(?i:\A(?:wp|mt|metaweblog|blogger)\.|log_?(?:in|on)\Z|log_?(?:in|on)\.|sign_?[io]n|auth(?!or)|passw|execute_kw)"
)
_SOAP_LOGIN = re.compile(r"<(?:[\w-]{1,32}:)?(?i:authenticate|log(?:in|on)|sign_?in|change_?password)[\s>]")
_PLACED = re.compile(
    r"<(?:[\w-]{1,32}:)?(?:arg|in|param|p|string)_?[0-9]{1,2}(?:\s[^<>]{0,200})?>\s{0,8}([^<>\s]{3,400})\s{0,8}</"
)
_ARGUMENT = re.compile(r"<(?:value|string|base64)>\s{0,8}([^<>\s]{3,400})\s{0,8}</(?:value|string|base64)>")


def arguments(text: str) -> Iterator[Span]:
    """XML-RPC and SOAP: of a procedure that logs somebody in, the arguments by their place are secrets."""
    call = _CALL.search(text)
    if call is not None and _LOGS_IN.search(call[1]):
        yield from (found.span(1) for found in _ARGUMENT.finditer(text, call.end()))
    elif _SOAP_LOGIN.search(text):
        yield from (found.span(1) for found in _PLACED.finditer(text))


#: Elements whose ``name`` says what they ask for, and whose text is for people.
_CONTROLS = frozenset(
    {"label", "select", "option", "button", "div", "form", "section", "a", "p", "li", "ul", "tr", "table", "body",
     "html", "fieldset", "h1", "h2", "h3", "script", "style", "svg", "main", "nav"}
)  # fmt: skip


def _value(attribute: re.Match[str]) -> str:
    start, end = _span(attribute)
    return attribute.string[start:end]


def _span(attribute: re.Match[str]) -> Span:
    for group in ("double", "single", "bare"):
        if attribute[group] is not None:
            return attribute.span(group)
    return attribute.end(), attribute.end()


def _stripped(text: str, start: int, end: int) -> Span | None:
    piece = text[start:end]
    inner = piece.strip()
    if not inner:
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(inner)


# --- columns ----------------------------------------------------------------------------------------------------------

_ROW = re.compile(r"[^\r\n]*+(?:\r?\n|\r|\Z)")
_HEADING_LIMIT = 4096
_LOOKED = 8  # lines in which a heading may stand


def columns(text: str, names: SecretNames) -> Iterator[Span]:
    """Cells of a table (CSV, TSV, psql's output, Markdown) below a heading that is a secret name."""
    at = 0
    for _ in range(_LOOKED):
        end = text.find("\n", at)
        if end < 0 or end == at:
            return
        line = text[at:end].rstrip("\r")
        if len(line) <= _HEADING_LIMIT:
            for sign in ("\t", ",", ";", "|"):
                if sign in line:
                    cells = [cell.strip(" \"'`*\ufeff") for cell in line.split(sign)]
                    if not all(map(_is_heading, cells)) or sum(map(bool, cells)) < 2:
                        continue
                    if secret := _secret_places(cells, names):
                        yield from _cells(text, end + 1, sign, secret, len(cells), names)
                        return
                    following = text[end + 1 : end + 1 + _HEADING_LIMIT].partition("\n")[0]
                    if len(cells) > 2 and following.count(sign) == len(cells) - 1:
                        return  # these are the headings
            headings = _WIDE.split(line.strip())
            if len(headings) > 1 and all(map(_is_heading, headings)) and (secret := _secret_places(headings, names)):
                yield from _aligned(text, end + 1, secret, len(headings), names)
                return
        at = end + 1


def _secret_places(headings: list[str], names: SecretNames) -> dict[int, str]:
    """Columns of secrets, or of what may be some."""
    used = any(words_of(cell)[:1] in (("used",), ("redeemed",)) for cell in headings)  # of codes, each for once
    return {
        place: f"otp {cell}" if used and cell.lower() in ("code", "codes") else cell
        for place, cell in enumerate(headings)
        if 0 < len(cell) < 64
        and (names.secret(cell) or names.weak(cell) or (used and cell.lower() in ("code", "codes")))
    }


_WIDE = re.compile(r" {2,}|\t")
_WORD = re.compile(r"[^\s]++(?:(?= [^\s]) [^\s]++)*+")


def _aligned(text: str, at: int, secret: dict[int, str], width: int, names: SecretNames) -> Iterator[Span]:
    """Rows of as many cells, set apart by two blanks or more."""
    while at < len(text):
        row = _ROW.match(text, at)
        if row is None or row.end() == at:
            return
        cells = list(_WORD.finditer(text, at, at + len(row[0].rstrip("\r\n"))))
        if len(cells) == width:
            for place, name in secret.items():
                if (value := cells[place][0]).strip("-=+") and names.holds(name, value):
                    yield cells[place].span()
        at = row.end()


def _is_heading(cell: str) -> bool:
    return len(cell) < 64 and not any(sign in cell for sign in '={}<>:"\\()')


def _cells(text: str, at: int, sign: str, secret: dict[int, str], width: int, names: SecretNames) -> Iterator[Span]:
    cell = re.compile(rf'[ ]*+(?:"((?:[^"]|"")*+)"?|\'([^\'{sign}\r\n]*+)\'|([^{re.escape(sign)}\r\n]*+))[ ]*+')
    column = 0
    while at < len(text):
        found = cell.match(text, at)
        if found is None:
            return
        if column in secret:
            group = next((n for n in (1, 2, 3) if found[n] is not None), 3)
            value = found[group].rstrip()
            if value and value.strip("-+:= ") and names.holds(secret[column], value):
                yield found.start(group), found.start(group) + len(value)
        at = found.end()
        if text[at : at + 1] == sign:
            at, column = at + 1, column + 1
            continue
        row = _ROW.match(text, at)
        if row is None or row.end() == at:
            return
        if column + 1 < width and column == 0 and not text[at : at + 2].strip():
            # an empty line, or one of another kind: the table is over, or its rule (---+---)
            if not text[found.start() : found.end()].strip("-+ "):
                pass
            elif sign != "|":
                return
        at, column = row.end(), 0
