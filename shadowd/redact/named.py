"""Secrets that a text names: ``password=…``, ``"token": "…"``, ``--api-key …``, YAML blocks, ``AUTH …`` (sans-IO).

Values are found, not changed: the result is spans of the text. All costs are linear: a search goes on behind what was
found, and every pattern is possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.harmless import computed, refers, said
from shadowd.redact.names import SecretNames, chosen, describes, is_topic, readable, tells
from shadowd.redact.nearby import STOP, is_metavariable, near
from shadowd.redact.places import PLACES, any_of, hinted
from shadowd.redact.secrets import MASK, Span

#: Names that are also ordinary words: ``unexpected token: end`` holds no secret, ``token: a81f22`` does.
_WORDS = frozenset(
    {"token", "session", "card", "authorization", "secret", "signature", "cookie", "pin", "bearer", "auth",
     "cookies", "tokens", "secrets", "credentials", "credential", "mfa", "otp", "csrf", "jwt", "salt", "nonce", "pan"}
)  # fmt: skip
SCHEMES = frozenset(
    {"basic", "bearer", "digest", "negotiate", "ntlm", "token", "apikey", "aws4-hmac-sha256", "hoba", "mutual", "dpop",
     "key", "hawk", "sharedkey", "sharedaccesssignature", "ssws", "genie", "bot", "scram-sha-256", "oauth", "api-key",
     "googlelogin", "aws", "sigv4", "snowflake", "zoho-oauthtoken", "splunk", "vapid", "cri", "mac", "client-id"}
)  # fmt: skip
#: Headers whose value has signs and blanks of its own.
_LINES = frozenset({"cookie", "setcookie", "authorization", "proxyauthorization", "cookie2", "xcookie"})
_NOTHING = frozenset(
    {"read", "write", "null", "none", "nil", "undefined", "true", "false", "required", "optional", "string", "str"}
)

_NAME = r"[^\W\d][\w.-]{0,127}+"  # longer names are not in any list
_NAMED = re.compile(
    rf"(?<![\w.])(?<!\w-)(?P<name>{_NAME})(?P<close>\\{{0,7}}[\"'`]?[\])]{{0,2}}(?:\[\])?)[ \t]{{0,8}}"
    rf"(?P<by>=>|:=|->|<-|::(?=[ \t])|[=:])(?P<gap>(?:[*_]{{1,3}}(?=\s))?\s{{0,8}})"
)
#: No value has a name in a text without one.
SIGN = re.compile(r"[=:|\0]|->|<-|\(|\b(?:ENV|ARG|setenv|setx|SetEnv|\w+_param|(?:proxy_set|add)_header|Header set) ")
_PREFIX = re.compile(r"[bBfFrRuUL@$]{1,2}(?=[\"'`])")
_YAML_TAG = re.compile(r"[&!][\w!:/.,-]{1,64}[ \t]{1,4}|string\([0-9]{1,6}\)[ \t]{1,4}")  # or PHP's var_dump
_QUOTED = re.compile(
    r'"""(?s:.){0,4096}?"""|\'\'\'(?s:.){0,4096}?\'\'\'|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\'[^\'\\]*+(?:\\.[^\'\\]*+)*+\'?|`[^`]*+`?',
    re.DOTALL,
)
_ESCAPED_QUOTE = re.compile(r"\\{1,7}[\"']")
_BARE = re.compile(r"(?>(?:[^\s&\"'<>(){}\[\]\\;,]++|[;,](?!\s|$|[\w.-]{1,40}+[=:]))+)")
_REST = re.compile(r"[^\r\n]*+")
_REST_IN_QUOTES = re.compile(r"[^\r\n\"']*+")
_BLANK = re.compile(r"[ \t]{1,8}")
_BEFORE = re.compile(r"[ \t]*+(?:(?:export|set|ENV|ARG|SET|setx|>|#|//|-|\*|\+)[ \t]{1,4})?[\"']?\Z")
_ANOTHER = re.compile(r"[\s,;&][\w.-]{1,40}+\s?[=:]")
_BLOCK = re.compile(r"[|>][+-]?[0-9]?[+-]?[ \t]{0,8}(?:#[^\r\n]*+)?\r?\n")
_LINE = re.compile(r"([ \t]*+)(- |[\w.\"' -]{1,64}?:[ \t])?([^\r\n]*+)(?:\r?\n|\Z)")
_HELD = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\'[^\'\\]*+(?:\\.[^\'\\]*+)*+\'?|[{}\[\]()]|[^\s"\'{}\[\](),;:=]++', re.DOTALL
)
_HELD_LIMIT = 8192  # characters of a bracketed value: a body that is kept has so many
_DIGIT = re.compile(r"[0-9]")
_DIGIT_WITHIN = 256  # characters of a value: names that follow each other without a blank are a long one each
_AFTER_KEY = re.compile(r"\s{0,8}(?:=>|[:=])")


def named(text: str, names: SecretNames) -> Iterator[Span]:
    """Values behind a name and a sign."""
    done = line = 0
    for found in _NAMED.finditer(text):
        start = found.start()
        if start < done:
            continue
        name = found["name"]
        if (names.weak(name) or name == "key") and (weak := _LIKELY.match(text, found.end())) and tells(name, weak[1]):
            yield weak.span(1)
            continue
        if not (names.secret(name) or (text[start - 1 : start] in _QUERY_SIGNS and start and _parameter(found, names))):
            continue
        if found["gap"].count("\n") == 0 and (
            refers(text, found.end()) or (found["by"] != ":" and computed(text, found.end(), name, names))
        ):
            continue
        newline = text.rfind("\n", line, start)
        line = newline + 1 if newline >= 0 else line
        first = start == line or _BEFORE.fullmatch(text, line, start) is not None
        for begin, end in _values(text, found, line if first else -1):
            if end > begin and not (MASK.match(text, begin) or _is_none(text, begin, end, name, names)):
                yield begin, end
            done = max(done, end)


def _is_none(text: str, begin: int, end: int, name: str, names: SecretNames) -> bool:
    """Whether the value of a secret name is told to people, or says where the secret is."""
    return end - begin < 400 and (
        refers(text, begin) or (" " in (value := text[begin:end]) and said(name, value, names))
    )


_LIKELY = re.compile(r"\\{0,7}[\"'`]?([^\s\"'`<>,;&\\]{3,200}+)(?=[\s\"'`<>,;&\\]|\Z)")
_QUERY_SIGNS = "?&;#"  # before a parameter; ``&amp;`` ends with one


def _parameter(found: re.Match[str], names: SecretNames) -> bool:
    return found["by"] == "=" and not found["gap"] and names.secret_parameter(found["name"])


def _is_reference(line: str) -> bool:
    """``true``, and ``db_password`` in a list of secrets."""
    return line.lower() in _NOTHING or ("_" in line and line.islower() and line.endswith(_ENDS))


_ENDS = ("_password", "_secret", "_token", "_key", "_pass", "_cert")


def _values(text: str, found: re.Match[str], line: int) -> Iterator[Span]:
    """Of one name. ``line``: where its line begins if nothing else stands before it, else -1."""
    at = found.end()
    plain = found["name"].replace("-", "").replace("_", "").lower()
    if found["by"] == ":" and line >= 0 and (found["gap"] or text[at : at + 1] in "|>"):
        block = _block(text, found, line)
        if block is not None:
            yield from block
            return
    if escaped := _ESCAPED_QUOTE.match(text, at):  # JSON inside a JSON string
        end = text.find(escaped[0], escaped.end())
        yield escaped.end(), len(text) if end < 0 else end
        return
    if tag := _YAML_TAG.match(text, at):
        at = tag.end()
    if prefix := _PREFIX.match(text, at):
        at = prefix.end()
    if quoted := _QUOTED.match(text, at):
        yield from _inside(text, quoted)
        return
    if text[at : at + 1] in ("{", "[", "("):
        yield from _held(text, at)
        return
    if plain in _LINES:
        quote = text[found.start() - 1] if found.start() and text[found.start() - 1] in "\"'" else ""
        rest = (_REST_IN_QUOTES if quote and not found["close"] else _REST).match(text, at)
        assert rest is not None
        yield _behind_scheme(text, at, at + len(rest[0].rstrip()))
        return
    if line < 0 and found["by"] == ":" and plain in _WORDS and found["close"] in ("", ")"):
        begin = _BARE.match(text, at, at + _DIGIT_WITHIN)
        if begin is not None and len(begin[0]) == _DIGIT_WITHIN and not _DIGIT.search(begin[0]):
            return  # as below, without looking at all of it
    bare = _BARE.match(text, at)
    if bare is None:
        return
    scheme, behind = _behind_scheme(text, at, bare.end()), _BLANK.match(text, bare.end())
    if bare[0].lower() in SCHEMES and behind:
        if rest := _BARE.match(text, behind.end()):
            yield behind.end(), behind.end() + len(rest[0].rstrip(",;."))
        return
    if bare[0].lower() in _NOTHING:
        return
    if found["by"] == ":" and found["close"] in ("", ")") and plain in _WORDS:
        if not _DIGIT.search(text, at, min(bare.end(), at + _DIGIT_WITHIN)):
            if line < 0 or len(bare[0]) < 8 or bare[0].lower() in STOP:
                return
            rest = _REST.match(text, at)  # once of a line, which is long where a name follows the other
            if rest is None or " " in rest[0].strip():
                return
    elif line >= 0 and "\n" not in found["gap"]:
        rest = _REST.match(text, at)
        assert rest is not None
        whole = rest[0].rstrip()
        if not _ANOTHER.search(whole) and (found["by"] == "=" or whole.count(" ") < 6):
            yield at, at + len(whole.rstrip(",;"))
            return
    yield scheme[0], at + len(bare[0].rstrip(",;."))


def _behind_scheme(text: str, at: int, end: int) -> Span:
    """Where the credentials begin: the scheme (RFC 9110 §11.4) says nothing."""
    space = text.find(" ", at, end)
    if space > 0 and text[at:space].lower() in SCHEMES:
        return space + 1, end
    return at, end


def _inside(text: str, quoted: re.Match[str]) -> Iterator[Span]:
    marks = 3 if quoted[0].startswith(('"""', "'''")) and len(quoted[0]) >= 6 else 1
    closed = len(quoted[0]) > marks and quoted[0].endswith(quoted[0][:1])
    yield quoted.start() + marks, quoted.end() - marks * closed


def _held(text: str, at: int) -> Iterator[Span]:
    """Everything in brackets that is no key; an empty span where it ends: names in there were looked at."""
    depth, done = 0, at
    for found in _HELD.finditer(text, at, at + _HELD_LIMIT):
        piece, done = found[0], found.end()
        if piece in "{[(":
            depth += 1
        elif piece in "}])":
            depth -= 1
            if depth == 0:
                break
        elif not _AFTER_KEY.match(text, found.end()) and piece.lower() not in _NOTHING:
            if piece[0] in "\"'":
                yield from _inside(text, found)
            else:
                yield found.span()
    yield done, done


def _block(text: str, found: re.Match[str], line: int) -> Iterator[Span] | None:
    """A YAML block scalar, or what is nested below a key that has no value of its own; None if it is neither."""
    colon = found.end("by")
    header = _BLOCK.match(text, found.end()) if "\n" not in found["gap"] else None
    if header is not None:
        at = header.end()
    elif "\n" in found["gap"]:
        at = text.find("\n", colon) + 1
    else:
        return None
    indent = len(_indent(text, line))
    lines = list(_below(text, at, indent, literal=header is not None, topic=is_topic(found["name"])))
    return iter(lines) if lines or header is not None else None


def _indent(text: str, line: int) -> str:
    found = re.compile(r"[ \t]*+").match(text, line)
    return found[0] if found else ""


def _below(text: str, at: int, indent: int, *, literal: bool, topic: bool) -> Iterator[Span]:
    first, last = -1, -1
    beside = -1  # indentation of a name that describes what is below it
    while at < len(text):
        found = _LINE.match(text, at)
        if found is None or found.end() == at:
            break
        deeper = len(found[1]) > indent
        nested = not literal and not deeper and len(found[1]) == indent and found[2] == "- "
        if text[at : found.end()].strip() and not (deeper or nested):
            break
        content = found.start(2) if found[2] and literal else found.start(3)
        stripped = text[content : found.end(3)].rstrip()
        if stripped:
            if literal:
                first = content if first < 0 else first
                last = content + len(stripped)
            elif (
                stripped.lower() in _NOTHING
                or 0 <= beside < len(found[1])
                or (topic and found[2] and describes(found[2]) and not chosen(found[3].strip("\"' ")))
            ):
                yield content, content  # how to sign in, and no secret
            elif stripped.endswith(":") and found[3]:
                beside = len(found[1]) if topic and describes(stripped[:-1]) else -1
            else:
                beside = -1
                lead = len(stripped) - len(stripped.lstrip("\"' "))
                yield content + lead, content + len(stripped.rstrip("\"', "))
        at = found.end()
    if last > first >= 0:
        yield first, last


# --- without a sign ---------------------------------------------------------------------------------------------------

_NOUNS = (
    r"(?P<flag>--?)?(?P<noun>pass(?:word|wd|phrase|code|wort)?|pwd|psk|pw|kennwort|pin|otp|api[ _-]?key"
    r"|(?:access|secret|auth|private)[ _-]?key|(?:access|auth|api|refresh|session|csrf|reset|security)?[ _-]?token"
    r"|secret|credentials?|community(?: string)?|requirepass|masterauth"
    r"|(?:(?:verification|verify|security|login|one[ -]time|auth\w{0,12}|confirm\w{0,8}"
    r"|access|door|gate|alarm|garage|safe|entry|reset|recovery|backup|sms|2fa|mfa|activation|your|dein|ihr)"
    r"[ _-])(?:code|pin|pass(?:word|code)?)"
    r"|session[ _-]?(?:id|key)|cv[vc]2?|csc|puk)"
)
_FOREIGN = (
    r"(?P<flag>--?)?(?P<noun>[a-zäöü]{3,20}s(?:code|kode)"
    r"|c(?:ode|[oó]digo|[oó]dice)[ ](?:de[ ]|di[ ]|d['’])?(?:l['’])?(?:acc[eè]s\w?|acesso"
    r"|v[eé]rif\w{2,10}|s[eé]cu\w{2,8}|seg\w{2,8}|sicurezza|conf[ei]r\w{2,10}|a[ct]t\w{4,10}|r[eé]cup\w{2,10})"
    r"|mot de passe|contrase[nñ]a|senha|clave)"
)
_FOREIGN_HINT = re.compile(r"[ck]ode|c[oó]di[gc]|senha|contrase|clave|mot de passe", re.IGNORECASE)
_SENTENCE = (
    r"(?<![A-Za-z0-9.])NOUNs?(?![A-Za-z0-9-])[\"'`]?(?P<of>\s(?:for|of)\s[^\s:]{1,64}+"
    r"|\s(?:provided|given|supplied|received|submitted|presented|entered|used|sent)(?=[:=]))?"
    r"(?P<verb>\s{0,4}(?:[:=]|(?<=\s)(?:is|was|are|were|(?:has been |was )?(?:set|changed|reset) to"
    r"|to|as|by|with|ist|lautet|est|es|è|é)))?"
    r":?\s{1,4}(?P<value>[\"'`][^\"'`\r\n]{1,200}[\"'`]?|[^\s\"'`<>,;(){}]{1,400}+)"
)
_PROSE = re.compile(_SENTENCE.replace("NOUN", _NOUNS), re.IGNORECASE)
_FOREIGN_PROSE = re.compile(_SENTENCE.replace("NOUN", _FOREIGN), re.IGNORECASE)
_SYMBOL = re.compile(r"[^\w\s.:/-]")
_COMMAND = re.compile(
    r"^[ \t>]{0,8}(?:[A-Za-z0-9.]{1,10} |(?:PRIVMSG|NOTICE) \w{1,32} :)?"
    r"(?:AUTH|AUTHENTICATE|PASS|LOGIN|IDENTIFY|OPER|APOP|ACCT|NICKSERV IDENTIFY)"
    r"[ \t]{1,8}(?P<rest>[^\r\n]{1,2000}+)",
    re.MULTILINE,
)
_CONTINUED = re.compile(r"(?:\r?\n(?:[0-9]{3}[ -]|\+ )[^\r\n]{0,400}+)?\r?\n([A-Za-z0-9+/]{4,400}+={0,2})(?=\r?\n|\Z)")
_MECHANISMS = frozenset(
    {"plain", "login", "cram-md5", "digest-md5", "xoauth2", "oauthbearer", "ntlm", "gssapi", "scram-sha-1",
     "scram-sha-256", "external", "tls", "ssl"}
)  # fmt: skip
_NETRC = re.compile(r"\blogin\s{1,8}\S{1,200}+\s{1,8}password\s{1,8}(\S{1,400}+)")
_PGPASS = re.compile(r"^[^:\s]{1,200}+:(?:[0-9]{1,5}|\*):[^:\s]{1,64}+:[^:\s]{1,64}+:(\S{1,400}+)$", re.MULTILINE)
_USER_PASS = re.compile(r"(?<!\S)(?:-u|--user|--proxy-user)[ =]{0,2}[\"']?[^\s:\"']{1,200}:([^\s\"']{1,400})")
_DIRECTIVE = re.compile(
    r"\b(?:requirepass|masterauth|sentinel auth-pass \S{1,64}|primaryauth|addauth digest [^\s:]{1,64}:"
    r"|snmp-server community|(?:tacacs|radius)-server(?: host \S{1,64})? key(?: [0-9])?|pre-shared-key(?: [0-9])?"
    r"|username \S{1,64}(?: privilege [0-9]{1,2})? (?:password|secret)(?: [0-9])?|enable (?:password|secret) [0-9])"
    r"(?:[ \t]{1,4}|(?<=:))(\S{1,400})",
    re.IGNORECASE,
)
# ``G-123456 is your code``; Wi-Fi as a QR code has it (ZXing's wiki)
_ONE_TIME = re.compile(
    r"(?<![\w.])(?:[A-Z]{1,3}-)?([0-9]{3,8}(?:[ -][0-9]{2,4})?) (?:is|ist) (?:your|the|ihr|dein)\b[^.\r\n]{0,60}"
    r"(?:(?<!post)(?<!bar)(?<!zip)code|\b(?:otp|pin|pass(?:word|code)))\b",
    re.IGNORECASE,
)
_WIFI = re.compile(r"\bWIFI:(?:[^\s:;]{1,2}:(?:[^;\\]|\\.){0,100};){0,4}?P:((?:[^;\\]|\\.){1,200})")
_OPTION_P = re.compile(
    r"\b(?:mysql|mariadb|mysqldump|mysqladmin|sshpass|redis-cli|ldapsearch|ldapadd|mongo|mongosh|sqlcmd|bcp|login)\b"
    r"[^\r\n|;]{0,200}?\s-(?:p|a|w|P)[ \t]?[\"']?([^\s\"'-][^\s\"']{0,400})"
)
_SQL = re.compile(
    r"\b(?:IDENTIFIED\s{1,4}(?:WITH\s{1,4}\S{1,64}\s{1,4})?(?:BY|AS)|PASSWORD|SECRET)(?:\s{1,4}|\s{0,4}\(\s{0,4})['\"]([^'\"\r\n]{1,400})",
    re.IGNORECASE,
)


_OWN = (
    (("login",), _NETRC),
    (("-u", "user"), _USER_PASS),
    (("identified", "password", "secret"), _SQL),
    (("requirepass", "masterauth", "auth-pass", "primaryauth", "addauth", "community", "-server", "pre-shared",
      "username", "enable"), _DIRECTIVE),
    (("mysql", "mariadb", "sshpass", "redis-cli", "ldap", "mongo", "sqlcmd", "bcp", "login"), _OPTION_P),
    ((" is ", " ist "), _ONE_TIME),
    (("wifi:",), _WIFI),
)  # fmt: skip


def unsigned(text: str, names: SecretNames) -> Iterator[Span]:
    """Values that follow a noun: options of commands, commands of protocols, and sentences."""
    yield from near(text, names)
    foreign = _FOREIGN_PROSE.finditer(text) if _FOREIGN_HINT.search(text) else ()
    for found in (*_PROSE.finditer(text), *foreign):
        if _is_told(found, text) and not (found["flag"] and is_metavariable(found["value"], names)):
            start, end = found.span("value")
            if text[start] in "\"'`":
                start += 1
                end -= text[end - 1] in "\"'`"
            else:
                end = start + len(found["value"].rstrip(".!?:"))
            if not MASK.match(text, start):
                yield start, end
    for found in _COMMAND.finditer(text):
        first, space, _ = found["rest"].partition(" ")
        known = space and first.lower() in _MECHANISMS
        if not (first.lower() in _MECHANISMS and not space):
            yield found.start("rest") + (len(first) + 1 if known else 0), found.end("rest")
        at = found.end()
        for _ in range(2):  # the answers to 334: name and password
            if not (line := _CONTINUED.match(text, at)):
                break
            yield line.span(1)
            at = line.end()
    for pattern in hinted(_OWN, text.lower()):
        yield from (found.span(1) for found in pattern.finditer(text))
    if ":" in text:
        yield from (found.span(1) for found in _PGPASS.finditer(text))


_SPOKEN = (
    "pass", "pwd", "pw", "kennwort", "psk", "cvv", "cvc", "csc", "puk", "code", "codi", "kode", "kodi", "códi", "tan ",
    "tan:",
    "log in", "logged in", "log on", "sign in", "signed in", "senha", "contrase", "clave", "pin", "otp", "key", "token",
    "secret", "cred", "auth", "session", "login", "identif", "oper ", "apop", "-u", "community", "com2sec", ": psk",
    ": eap", "add-mask", "connect", "pdo", "비번", "비밀번호", "패스워드", " on >", " on #", "verif", "confirm",
    "wifi:",
)  # fmt: skip
#: Hints of tables that are in everything: what they are of is found with other words, or not at all.
_EVERYWHERE = frozenset(
    {":", "]", "user", "user ", "username", "access", "account", "send", "option ", " is ", " ist ", "shared", "chap",
     "pap", "ftp", "ssh", "enable", "-server", "attempt", "*\n", "* \n", "*\r", "rar ", "ldap", "wep", "ntp"}
)  # fmt: skip
_HINTS = frozenset(hint for hints, _ in (*PLACES, *_OWN) for hint in hints)
_NOUN = any_of({*_SPOKEN, *(_HINTS - _EVERYWHERE)})
_OF_HOSTS = re.compile(r":(?:[0-9]{3,5}|\*):|\]:[0-9]|\][ \t]+\S{1,64}:|\*[ \t]*\r?\n")


def speaks(text: str) -> bool:
    """Whether ``unsigned`` may find something in ``text``."""
    return _NOUN.search(text.lower()) is not None or _OF_HOSTS.search(text) is not None


_THE_SECRET = re.compile(r"(?i:\b(?:the|my|our|your|their) secret\Z)")


def _is_told(found: re.Match[str], text: str) -> bool:
    value, noun, verb = found["value"], found["noun"], found["verb"]
    quoted = value[0] in "\"'`"
    inner = value.strip("\"'`").rstrip(".!?:")
    if inner.lower() in _NOTHING or MASK.match(inner) or not inner:
        return False
    if value[-1] == "=" and text[found.end("value") : found.end("value") + 1] in ('"', "'"):
        return False  # the next attribute
    if found["flag"]:
        return not inner.startswith("-")
    strong = noun[:4].lower() in ("pass", "pwd", "kenn", "requ", "mast", "pw")
    if quoted:
        made = len(inner) >= 12 or (len(inner) >= 6 and any(c.isdigit() for c in inner))
        return (verb is not None or strong or made) and " " not in inner and len(inner) > 3
    letter = any(c.isalpha() for c in inner)
    digit = any(c.isdigit() for c in inner) or not (inner.isascii() and readable(inner))
    if verb is not None and inner.isdigit():
        return len(inner) >= 4
    if inner.isalpha() and len(inner) >= 6 and verb is not None and inner.lower() not in STOP:
        after = text[found.end("value") : found.end("value") + 1]
        told = strong or " " in noun or _THE_SECRET.search(text, max(0, found.start() - 8), found.end("noun"))
        if told and (after in ("", "\n", "\r", "<", '"', "'", ",") or value[-1] in ".!"):
            return True
    if noun.isupper() and strong and verb is None and len(noun) > 2:
        start = found.start()
        if text[text.rfind("\n", max(0, start - 80), start) + 1 : start].strip(" \t>") == "" and "\n" not in found[0]:
            return True
    if noun[:2].lower() == "cv" or noun.lower() == "csc":
        return inner.isdigit() and 3 <= len(inner) <= 4
    if noun.lower().endswith(("code", "pin", "puk")):
        return digit and len(inner) >= 4 and not letter
    if (noun[:4].lower() in ("code", "codi", "códi", "códi") or noun.lower().endswith(("otp", "kode"))) and digit:
        return len(inner) >= 4
    if not strong and verb is None and (":" in inner or "/" in inner or "." in inner):
        return False
    return len(inner) >= 6 and letter and (digit or (strong and bool(_SYMBOL.search(inner.rstrip(")]}")))))
