"""What stands in a secret's place or has its look, and is none (sans-IO): what is said to people about one, where it is
kept instead, ids, digests, names of files."""

from __future__ import annotations

import re

from shadowd.redact.names import SecretNames, words_of

#: Where the value comes from: ``${{ secrets.X }}``, ``$DB_PASSWORD``, ``<token>``; and what hides one.
_REFERENCE = re.compile(
    r"(?:\$\{\{?[^{}\r\n]{0,200}\}\}?|\{\{[^{}\r\n]{1,200}\}\}|\$[A-Z_][A-Z0-9_]{2,60}|<[A-Za-z][\w -]{1,60}>"
    r"|\((?:known after apply|sensitive(?: value)?|redacted|hidden|not set|none)\)|\$[0-9]{1,2}|\?|%s|:[a-z_]{2,40}"
    r"|[*•]{3,64}|%[A-Z_]{3,60}%|(?:process\.env|secrets|os\.environ|env|var)\.\w{1,64})(?=[\s\"'`,;&)}\]<]|\Z)"
)
#: How a sentence about a secret begins that has no subject, or another one.
_SAYING = frozenset(
    {"is", "are", "must", "can't", "cannot", "should", "has", "have", "was", "doesn't", "does", "please", "enter",
     "your", "invalid", "too", "confirm", "forgot", "incorrect", "wrong", "may"}
)  # fmt: skip
_NUMBERS = frozenset({"number", "code", "codes", "key", "keys", "phrase", "id"})
_MIXED = re.compile(r"[A-Za-z][0-9]|[0-9][A-Za-z]|[0-9]{4}|@|(?<!\w)'\S|[\"`:=]\S|\S[!*~^%&$#]\S")
#: Ids that say what they are of (``cus_9s6XKzkNRiz8i3``), and those that are made of the time (ULID, CUID).
_ID = re.compile(
    r"(?P<of>[a-z]{2,8})_(?=[a-z]{0,24}[A-Z0-9])[A-Za-z0-9]{12,24}\Z|0[0-9A-HJKMNP-TV-Z]{25}\Z|c[lm][a-z0-9]{23}\Z"
    r"|[a-z]{1,10}-0?[0-9a-f]{8}(?:[0-9a-f]{9})?\Z"  # AWS'
)
_NO_ID = frozenset(
    {"key", "api", "tok", "token", "pat", "sess", "session", "sec", "secret", "auth", "pass", "pwd", "live", "test",
     "prod", "access", "refresh", "bot", "app", "sk", "rk", "pk", "ak", "priv", "sid", "state", "code", "nonce", "ek",
     "apikey", "hf", "npm", "ntn", "whsec", "vercel", "vcp", "vci", "vca", "vcr", "vck"}
)  # fmt: skip
#: Digests as Subresource Integrity and registries write them.
_DIGESTED = re.compile(r"(?i:\b(?:sha(?:1|224|256|384|512)|md5)[-:])[A-Za-z0-9+/]{0,64}\Z")
_IDENTIFIED = re.compile(
    r"(?i:(?<![A-Za-z])(?:commit|tree|parent|trace|span|sha[0-9]{0,3}|digest|checksum|etag|md5|revision|merge"
    r"|(?:trace|span|request|correlation|commit|build)[_.-]?id)(?:[\"']?[=: ]{1,2}[\"']?|>(?:&quot;|\")?)"
    r"|/(?:avatar|commits?|tree|blob)/)\Z"
)
_FILE = re.compile(
    r"(?:\.(?:min|chunk|bundle|module|esm|d|es5|es6|umd|prod)){0,2}"
    r"\.(?:css|m?js|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|map|wasm)(?![\w/])"
)


def elsewhere(value: str) -> bool:
    """Whether ``value`` says where the secret is, or hides it."""
    return value[:1] in "$<{*•%peosv(?:" and _REFERENCE.fullmatch(value) is not None


def refers(text: str, at: int) -> bool:
    """Whether what begins at ``at`` says where a secret is, or hides it."""
    return text[at : at + 1] in "$<{*•%peosv(?:" and _REFERENCE.match(text, at) is not None


_CALL = re.compile(
    r"(?:await|new|yield|async|not|lambda|self|typeof)\b[ (.]|[A-Za-z_][\w.]{0,80}+\("
    r"|[A-Za-z_]\w{0,60}+(?:\.[A-Za-z_]\w{0,60}+){1,8}+[\[),;]"
)
_VARIABLE = re.compile(r"([A-Za-z_]\w{0,60}+)(?:[),;]|[ \t]*$)", re.MULTILINE)


def computed(text: str, at: int, name: str, names: SecretNames) -> bool:
    """Whether what begins at ``at`` is an expression of a program (``token = create(…)``, ``password=password)``)."""
    if _CALL.match(text, at):
        return True
    if (found := _VARIABLE.match(text, at)) is None:
        return False
    same = found[1] == name.rpartition(".")[2] and (text[at - 1] == " " or found[0][-1:] in ");,")
    return same or (found[0][-1] in ");," and "_" in found[1] and names.secret(found[1]))


def said(name: str, value: str, names: SecretNames) -> bool:
    """Whether ``value`` of a secret ``name`` is told to people: ``The PIN is wrong.``, ``Confirm password``."""
    words = value.split()
    if len(words) < 2:
        return value[:1].isupper() and value.isalpha() and words_of(value) == words_of(name)
    if len(words) > 40 or _MIXED.search(value):
        return False
    first = words[0].lower() in _SAYING
    if len(words) == 2 and not first:  # and not ``Bearer …``
        return names.secret(words[1]) or (words[1].lower() in _NUMBERS and names.secret(value))
    if not (first or value[0].isupper()):
        return False
    return (
        first
        or names.secret(value[:100])
        or any(names.secret(word.strip(".,:?!")) for word in words)
        or (len(words) > 3 and value[-1] in ".?:)")
    )


def identifies(token: str) -> bool:
    """Whether a token is an id by its look."""
    found = _ID.match(token)
    return found is not None and found["of"] not in _NO_ID


def placed(text: str, start: int, end: int) -> bool:
    """Whether a random token is an id, a digest or a file's name by what stands around it."""
    before = text[max(0, start - 80) : start]
    return (
        _IDENTIFIED.search(before) is not None
        or _DIGESTED.search(before) is not None
        or _FILE.match(text, end) is not None
    )


def is_file(piece: str) -> bool:
    """Whether a segment of a path is the name of a file that pages load."""
    return "." in piece and any(found.end() == len(piece) for found in _FILE.finditer(piece))
