"""JSON, redacted token by token (sans-IO).

It is not parsed and printed again, so that spelling, order, duplicate keys and white space stay as they were sent, and
a document that was cut off or is malformed is redacted by the same rules. Documents may stand in a row, also on the
lines of an event stream; a text that was split over them (the answer of a model) is looked at as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Protocol

from shadowd.redact.names import SecretNames, bare, tells
from shadowd.redact.secrets import SECRET_LETTERS, is_scrambled

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?[0-9][0-9.eE+-]*+|[{}\[\],]', re.DOTALL)
_LINE_TOKEN = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?|-?[0-9][0-9.eE+-]*+|[{}\[\],]')
_COLON = re.compile(r"\s*+:")
#: Members that name what another member of the same object holds.
_LABELS = frozenset(
    {"name", "key", "k", "id", "field", "param", "parameter", "header", "property", "attribute", "variable", "setting",
     "option", "claim", "envvar", "env", "column", "fieldname", "keyname", "path", "loc", "pointer", "target",
     "instancepath", "propertypath", "propertyname"}
)  # fmt: skip
_NAMING = ("name", "key", "label", "field")  # keyName, settingKey
_KINDS = frozenset({"type", "kind", "purpose"})  # these too, but of passwords alone: ``token`` is a kind of many things
_HIDDEN = frozenset({"CONCEALED", "concealed", "SecureString", "secureString"})
_HELD = frozenset(
    {"value", "v", "val", "values", "content", "default", "defaultvalue", "rawvalue", "stringvalue", "plaintext",
     "newvalue", "oldvalue", "new", "old", "before", "after", "current", "previous", "text", "data", "input",
     "rejectedvalue", "received", "actual", "given", "got", "example", "result", "payload", "property",
     "repeat", "confirm", "again", "retype"}
)  # fmt: skip
#: Members that name columns, and those that hold rows of as many cells.
_HEADINGS = frozenset(
    {"fields", "columns", "headers", "header", "keys", "names", "labels", "columnnames", "fieldnames", "cols", "meta"}
)
_ROWS = frozenset({"values", "rows", "data", "records", "row", "results", "value", "items", "body", "vals"})
#: Members of events that repeat and hold no part of a text.
_REPEATED = frozenset(
    {"id", "type", "object", "model", "role", "event", "name", "status", "index", "created", "finish_reason",
     "system_fingerprint", "obfuscation", "signature", "provider", "native_finish_reason", "created_at",
     "stop_reason", "phase", "responseid", "modelversion"}
)  # fmt: skip
_SCORES = frozenset({"logprob", "logprobs", "bytes", "special", "top_logprobs", "prob", "probability", "score", "rank"})
#: A Secret of Kubernetes, or what Vault answers: all of its ``data`` is one.
KUBERNETES = re.compile(r"(?<![\w.])kind[\"']?\s{0,4}:\s{0,4}[\"']?Secret\b|\"lease_(?:id|duration)\"\s{0,4}:")
#: Members that name a procedure; if it logs somebody in, the arguments by their place are secrets.
_CALLS = frozenset({"method", "procedure", "function", "action", "command", "cmd", "op", "operation", "rpc", "call"})
_ARGUMENTS = frozenset({"params", "args", "arguments", "argv", "parameters", "positional"})
_LOGS_IN = re.compile(
    r"(?i:log_?(?:in|on)|sign_?[io]n|auth(?!ors?\b)|(?:set|change|reset|check|verify|update)_?(?:pass|pin|pw|token|otp)"
    r"|passw|passphrase|unlock|execute_kw)"
)
_RENEWS = re.compile(r"(?i:(?:change|set|reset|update|renew)[_.-]?pass)")  # with members called old and new
#: Options of commands that ask for a password (``-p`` is a port as often), and what may be one.
_OPTIONS = frozenset({"-p", "-P", "-w", "-pw", "-a"})
_OPTION_VALUE = re.compile(r"(?=[^0-9]{0,64}[0-9])(?=[^A-Za-z]{0,64}[A-Za-z])[^\s./:,\\-]{6,64}\Z")
_PLAIN_WORD = re.compile(r"[A-Za-z_.-]*\Z")
_NESTED = 3  # documents within strings of documents
_DEPTH = 400  # containers whose names are told apart; deeper ones share the last's


_ID = re.compile(
    r"(?:\A|[_.-])(?:id|ids|uuid|guid|etag|fingerprint|sha|commit|digest|checksum|revision)\Z"
    r"|[a-z](?:Id|ID|Ids|Sha|Hash|Digest|Uuid|Guid)\Z|\A(?:ID|Id|SHA|ETag|UUID)\Z"
)


#: Private members of a JSON Web Key (RFC 7518 §6); each has a ``kty``.
_JWK = frozenset({"k", "d", "p", "q", "dp", "dq", "qi"})
_VARIABLE = re.compile(r"(?<!\w)([A-Za-z_]\w{0,63})\s{0,4}:\s{0,4}\$([A-Za-z_]\w{0,63})")


class Redactor(Protocol):
    """What is asked of ``redaction.Redactor``."""

    names: SecretNames
    sealed: SecretNames

    def mask(self, value: str) -> str: ...
    def told(self, value: str) -> str: ...
    def text(self, text: str) -> str: ...
    def identifier(self, text: str) -> str: ...


class _Member:
    """What the name of a member says."""

    __slots__ = ("bare", "calls", "held", "identifies", "kind", "labels", "low", "repeated", "secret", "shown", "weak")

    def __init__(self, name: str, secret: bool, shown: str, weak: bool) -> None:
        self.secret = secret
        self.shown = shown  # the name, redacted
        self.weak = weak
        self.low = low = name.lower()
        self.kind = low in _KINDS
        self.labels = self.kind or low in _LABELS or low.endswith(_NAMING)
        self.held = low in _HELD or low.endswith("value")
        self.calls = low in _CALLS
        self.bare = low in ("key", "code")
        self.identifies = _is_id(name)
        self.repeated = self.identifies or low in _REPEATED


class _Frame:
    """One open object or array."""

    __slots__ = ("before", "calls", "columns", "deep", "fresh", "headings", "is_object", "key", "label", "member",
                 "pending", "place", "score", "secret", "tokens")  # fmt: skip

    def __init__(self, secret: bool, is_object: bool) -> None:
        self.secret = secret
        self.is_object = is_object
        self.key = ""
        self.member = _NONE
        self.label = False  # a member said that another one is secret
        self.pending: list[tuple[int, int, str]] = []  # values whose label may follow
        self.before = ""  # the string before, of an array
        self.tokens: list[int] = []  # edits of members named token, by their index
        self.score = False
        self.calls = False  # a member named a procedure that logs in
        self.deep = False  # ``label`` holds for what is below as well
        self.headings: list[str] | None = None  # of an array that names columns
        self.columns: frozenset[int] | None = None  # cells that are secret, of this array or of those below
        self.fresh = False  # whether they were named in this very object
        self.place = 0  # in an array with ``columns``


def redacted(text: str, by: Redactor, *, split: bool = False, nested: int = _NESTED) -> str:
    """Below a secret name every string and number is masked. ``split``: texts may go on in the next document."""
    edits: list[tuple[int, int, str] | None] = []
    leaves: dict[str, list[tuple[int, int, str, int]]] = {}
    names: dict[str, _Member] = {}  # of this body: they repeat in every element of a list
    secret_name = (by.sealed if KUBERNETES.search(text) else by.names).secret
    stack = [_Frame(False, False)]
    also = _JWK if '"kty"' in text else frozenset[str]()
    if "$" in text and '"variables"' in text:  # GraphQL: ``login(password: $p)`` says what ``p`` is
        also |= {one[2] for one in _VARIABLE.finditer(text) if secret_name(one[1])}
    named = False  # by the name just read
    pattern = _LINE_TOKEN if split and "\ndata:" in f"\n{text[:65536]}" else _TOKEN
    for found in pattern.finditer(text):
        token = found.group()
        frame = stack[-1]
        if token in ("{", "["):
            held = frame.label and frame.member.held
            held = held or (frame.calls and token == "[" and frame.member.low in _ARGUMENTS)
            if len(stack) < _DEPTH:
                stack.append(inner := _Frame(frame.secret or named or held, token == "{"))
                inner.label = inner.deep = frame.deep
                if token == "[":
                    _arrange(frame, inner)
            else:
                frame.secret = frame.secret or named or held
            named = False
            continue
        if token in ("}", "]", ","):
            if token != "," and len(stack) > 1:
                stack.pop()
                _close(frame, stack[-1], edits, by)
            elif frame.columns:
                frame.place += 1
            named = False
            continue
        if token[0] == '"':
            value = decoded(token)
            if _COLON.match(text, found.end()):
                member = names.get(value)
                if member is None:
                    named = secret_name(value) or value in also
                    weak = not named and by.names.weak(value)
                    member = names[value] = _Member(value, named, by.text(value), weak)
                named = member.secret
                frame.key = value
                frame.member = member
                frame.is_object = True
                frame.score = frame.score or member.low in _SCORES
                if member.shown != value:
                    edits.append((found.start(), found.end(), _quoted(member.shown, token)))
                continue
            held = False
            member = frame.member
            if frame.is_object:
                if member.labels:
                    label = len(value) < 100 and secret_name(value) and " " not in value
                    label = label and (not member.kind or "pass" in value.lower() or "secret" in value.lower())
                    label = label or (member.kind and value in _HIDDEN)
                    frame.label = frame.label or label
                    frame.deep = frame.deep or (label and member.kind)
                held = member.held
                if member.calls:
                    frame.calls = len(value) < 100 and " " not in value and _LOGS_IN.search(value) is not None
                    frame.label = frame.label or (frame.calls and _RENEWS.search(value) is not None)
                if member.low == "name" and len(stack) > 1 and stack[-2].headings is not None:
                    stack[-2].headings.append(value)
            else:
                # ["password", "hunter2"], as headers in a row; ["--password", "..."]
                option = frame.before.startswith("-") and not value.startswith("-")
                made = option or not _PLAIN_WORD.match(value)
                held = frame.label = bool(frame.before) and made and secret_name(frame.before)
                held = held or (frame.before in _OPTIONS and _OPTION_VALUE.match(value) is not None)
                frame.label = held
                if len(stack) > 2 and stack[-2].member.low in _LABELS and len(value) < 100 and secret_name(value):
                    stack[-2].label = True  # "loc": ["body", "password"]
                if frame.headings is not None:
                    frame.headings.append(value)
                elif frame.columns and frame.place in frame.columns:
                    held = frame.label = True
            if (
                frame.secret
                or named
                or (held and frame.label)
                or (
                    frame.is_object
                    and (
                        (member.weak and tells(frame.key, value))
                        or (member.bare and bare(_around(stack), member.low, value))
                    )
                )
            ):
                new = by.told(value)
            elif found.end() == len(text) and _is_cut(token):
                new = value  # no document: all of the text is looked through by whoever asked
            else:
                new = by.identifier(value) if frame.is_object and member.identifies else _leaf(value, by, nested)
                if held and frame.is_object:
                    frame.pending.append((found.start(), found.end(), token))
            frame.before = value if len(value) < 100 and " " not in value else ""
            if named and member.low == "token" and new != value:
                frame.tokens.append(len(edits))
            named = False
            if new != value:
                edits.append((found.start(), found.end(), _quoted(new, token)))
            elif split and frame.is_object and value and not member.repeated:
                path = "/".join(one.key for one in stack[1:][-12:])
                leaves.setdefault(path, []).append((found.start(), found.end(), value, len(edits)))
            continue
        held = frame.label and frame.member.held
        held = held or (frame.columns is not None and not frame.is_object and frame.place in frame.columns)
        if frame.secret or named or held:
            counted = named and not frame.secret and frame.member.low.endswith("tokens") and len(token) < 8
            new = token if counted else by.told(token)
        else:
            card = len(token) > 12 and token.lstrip("-").isdigit()  # no fraction is a card number
            new = by.text(token) if card else token
            if frame.is_object and frame.member.held:
                frame.pending.append((found.start(), found.end(), token))
        named = False
        if new != token:
            edits.append((found.start(), found.end(), json.dumps(new)))
    while len(stack) > 1:
        closed = stack.pop()
        _close(closed, stack[-1], edits, by)
    kept = [edit for edit in edits if edit is not None]
    if split:
        kept += _split(leaves, by, pattern is _LINE_TOKEN)
    return _applied(text, kept)


def _applied(text: str, edits: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[0]):
        if start >= done:
            pieces += (text[done:start], new)
            done = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _arrange(frame: _Frame, inner: _Frame) -> None:
    """An array is open: it may name columns, or hold rows of them."""
    low = frame.member.low
    if not frame.is_object:
        inner.columns = frame.columns
    elif low in _HEADINGS:
        inner.headings = []
    elif frame.columns and low in _ROWS:
        inner.columns = frame.columns


def _around(stack: list[_Frame]) -> str:
    """The name of the object that is open, or of the array that it is in."""
    return next((one.key for one in reversed(stack[-3:-1]) if one.key), "")


def _close(frame: _Frame, around: _Frame, edits: list[tuple[int, int, str] | None], by: Redactor) -> None:
    """An object is over: its label may have come last, and a token with a score is a word of a model."""
    if frame.headings:
        around.columns = frozenset(place for place, name in enumerate(frame.headings) if by.names.secret(name))
        around.fresh = True
    elif frame.fresh and frame.is_object:
        around.columns = frame.columns  # {"schema": {"fields": …}, "rows": …}
    if frame.pending and not frame.label and around.member.low == "property":
        around.pending += frame.pending  # of Spring: the name stands outside
    if frame.label and frame.is_object:
        for start, end, token in frame.pending:
            new = _quoted(by.told(decoded(token)), token) if token[0] == '"' else json.dumps(by.told(token))
            edits.append((start, end, new))
    if frame.score:
        for index in frame.tokens:
            edits[index] = None


def _is_id(name: str) -> bool:
    return len(name) < 64 and _ID.search(name) is not None


_NONE = _Member("", False, "", False)


def _is_cut(token: str) -> bool:
    """Whether a string has no end: its last quotation mark, if it has one, is escaped."""
    inner = token[:-1]
    return len(token) < 2 or token[-1] != '"' or (len(inner) - len(inner.rstrip("\\"))) % 2 == 1


_LETTERS = re.compile(r"[A-Za-z0-9_+/=~-]*\Z")


def _leaf(value: str, by: Redactor, nested: int) -> str:
    """A string that is not secret by its name; one that holds a document is looked at as that."""
    if 16 <= len(value) < SECRET_LETTERS and _LETTERS.match(value) and is_scrambled(value):
        return by.mask(value)
    if nested and len(value) > 8 and value.lstrip()[:1] in ("{", "[") and ('"' in value or ":" in value):
        inner = redacted(value, by, nested=nested - 1)
        return inner if is_json(value, "") else by.text(inner)
    return by.text(value)


def _split(
    leaves: dict[str, list[tuple[int, int, str, int]]], by: Redactor, events: bool
) -> list[tuple[int, int, str]]:
    """What is secret only when the parts of a text are put together: a mask in the first, nothing in the others."""
    edits: list[tuple[int, int, str]] = []
    for parts in leaves.values():
        values = [part[2] for part in parts]
        if len(parts) < 2 or len(set(values)) * 3 < len(values) or sum(map(len, values)) > 40 * len(values):
            continue
        whole = "".join(values)
        if not events and whole[:1] not in "{[" and not any(" " in value or "\n" in value for value in values):
            continue  # articles' numbers of a list: no text
        masked = by.text(whole)
        if whole.lstrip()[:1] in ("{", "["):
            masked = by.text(redacted(whole, by))
        if masked == whole:
            continue
        # what is the same at the beginning and at the end of a changed stretch stays in its part
        edits += _spread(parts, whole, masked)
    return edits


_MASKED = re.compile(r"\[redacted:[0-9a-f]{8}\]")


def _spread(parts: list[tuple[int, int, str, int]], whole: str, masked: str) -> list[tuple[int, int, str]]:
    """The masks put back into the parts: the text between two masks is found in order."""
    spans: list[tuple[int, int, str]] = []
    at = done = 0
    for found in _MASKED.finditer(masked):
        between = masked[done : found.start()]
        start = at + len(between)
        if whole[at:start] != between:
            return [(part[0], part[1], json.dumps("")) for part in parts]  # it cannot be told where: all of it goes
        following = _MASKED.search(masked, found.end())
        rest = masked[found.end() : following.start() if following else len(masked)]
        end = len(whole) - len(rest) if following is None else whole.find(rest, start + 1)
        if rest == "" and following is not None:
            end = start + 1
        if end < start:
            return [(part[0], part[1], json.dumps("")) for part in parts]
        spans.append((start, end, found.group()))
        at, done = end, found.end()
    edits: list[tuple[int, int, str]] = []
    offset = 0
    current = 0
    for start_, end_, value, _ in parts:
        after = offset + len(value)
        while current < len(spans) and spans[current][1] <= offset:
            current += 1
        pieces: list[str] = []
        place, index = offset, current
        while index < len(spans) and spans[index][0] < after:
            start, end, mask = spans[index]
            if start >= offset:
                pieces += (whole[place:start], mask)
            place = min(end, after)
            index += 1
        new = "".join([*pieces, whole[place:after]])
        if new != value:
            edits.append((start_, end_, json.dumps(new)))
        offset = after
    return edits


def decoded(token: str) -> str:
    """What a JSON string says; as it stands if it is cut off or malformed."""
    closed = len(token) > 1 and token[-1] == '"'
    raw = token[1:-1] if closed else token[1:]
    if "\\" not in raw:
        return raw
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


def _quoted(value: str, token: str) -> str:
    closed = len(token) > 1 and token[-1] == '"'
    return json.dumps(value) if closed else json.dumps(value)[:-1]


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Lines that are a document each, alone or behind ``data:``, and what stands between them (False)."""
    start = at = 0
    for found in _LINE.finditer(text):
        document = found[0].removeprefix("data:").strip()
        if document[:1] in ("{", "[") and is_json(document, ""):
            if found.start() > start:
                yield text[start : found.start()], False
            yield found[0], True
            start = found.end()
        at = found.end()
    if at > start or len(text) > start:
        yield text[start:], False


_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def is_json(text: str, kind: str) -> bool:
    """Whether it is one whole document, or lines of them: then what it holds was looked at string by string."""
    lines = text.splitlines() if any(word in kind for word in ("ndjson", "jsonl", "json-seq")) else [text]
    try:
        for line in lines:
            if document := line.strip("\ufeff\x1e \t\r\n"):
                json.loads(document, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> str:
    raise ValueError(name)
