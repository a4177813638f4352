r"""Secrets that stand near what tells of them (sans-IO): in a sentence that speaks of a password, at their place in the
configuration of one program, as the third argument of what connects, in a row of two cells.

What stands beside the noun is found by ``named``; here a word further on is masked if no person would write it for
another reason: letters and digits in turn (``k7Qr2x9b``), and none of the terms of the trade that are spelt so
(``oauth2client``). All patterns are possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.harmless import is_file, refers
from shadowd.redact.names import SecretNames
from shadowd.redact.places import PLACES, hinted
from shadowd.redact.secrets import MASK, Span

_TOLD = re.compile(
    r"(?<![A-Za-z])(?:pass(?:word|wd|phrase|code|wort)|pwd|psk|secret|credential|creds|kennwort|mot de passe|senha"
    r"|contrase[nñ]a|api[ _-]?key|(?:access|secret|private|license|encryption)[ _-]?key|community string"
    r"|(?:(?:access|auth|api|refresh|session|bearer|security|bot)[ _-]?)?token|login (?:is|was))s?"
    r"(?![A-Za-z]|-[A-Za-z])([^\r\n]{1,100})",
    re.IGNORECASE,
)
_TELLING = ("pass", "pwd", "psk", "secret", "cred", "kennwort", "senha", "contrase", "key", "community", "token",
            "login ", "mot de")  # fmt: skip
_WORD = re.compile(r"[^\s\"'`<>(){}\[\],;=|/\\]{7,64}+")
_PIECE = re.compile(r"[^._-]{7,}")
_TURN = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")
_CAMEL = re.compile(r"[a-z][A-Z]")
_DIGIT = re.compile(r"[0-9]")
_SIGNED = re.compile(r"[A-Za-z0-9][!*~^%&+?$#][A-Za-z0-9]")
_NO_SECRET = re.compile(
    r"[0-9a-f-]+\Z|#[0-9A-Fa-f]{3,8}\Z|v?[0-9]+[.-][0-9]|[0-9]{4}-?[0-9]{2}|[0-9][0-9.,]*[A-Za-z]{0,3}\Z|[\w.+-]+@[\w-]+\.|\w+:[0-9]+\Z|[\w-]+\.[a-z]+\Z"
    r"|.*(?i:oauth2|base64|b64|sha[0-9]|utf8|utf-8|md5|x86|i18n|l10n|k8s|http2|ipv[46]|web3|log4j|ec2|rfc[0-9]|p2p|b2b|aes[0-9]"
    r"|rsa[0-9]|ed25519|x25519|x509|pkcs|pbkdf2|2fa|mp[34]|hs256|rs256|es256|ps256|redacted|h264|s3|%[0-9a-f]{2}|u00)"
)

#: Codes that are listed below what they are.
_LISTED = re.compile(
    r"(?:recovery|backup|scratch|emergency|rescue|one-time|wiederherstellungs)"
    r"[ -]?(?:code|key)s?\b[^\r\n]{0,80}(?:\r?\n){1,3}"
    r"((?:[ \t*#.)0-9-]{0,8}[A-Za-z0-9]{3,40}(?:[ \t-]{1,4}[A-Za-z0-9]{3,40}){0,5}[ \t]{0,8}(?:\r?\n|\Z)){1,24})",
    re.IGNORECASE,
)
_GIVEN = r"\s{0,8}(?:\"[^\"\r\n]{0,300}\"|'[^'\r\n]{0,300}'|[^\s,()\"']{1,100})\s{0,8},"
_CONNECTED = re.compile(
    r"(?<!\w)(?:PDO(?:->__construct)?|mysqli|imap_open|CREATE_CREDENTIAL|ssh2_auth_password|\w{0,40}(?:[cC]onnect|[cC]onnection|[lL]ogin|_bind|[bB]ind))"
    rf"\s?\({_GIVEN}{_GIVEN}\s{{0,8}}[\"'](?P<value>[^\"'\r\n]{{1,300}})[\"']"
)
#: ``SetBasicAuth("eva", "…")``, ``new NetworkCredential('eva', '…')``
_SIGNING = re.compile(
    rf"(?i:(?<!\w)\w{{0,40}}(?:basic_?auth|credentials?|password_?authentication))\s?\({_GIVEN}"
    r"\s{0,8}[\"'](?P<value>[^\"'\r\n]{1,300})[\"']\s{0,8}[,)]"
)
_CONNECTING = ("connect", "pdo", "mysqli", "login", "bind", "imap_open", "ssh2_auth", "create_credential")
_SIGNS_IN = ("basicauth", "basic_auth", "credential", "passwordauthentication", "password_authentication")
#: ``changePassword(old: "…", new: "…")``
_RENEWING = re.compile(
    r"(?i:(?<!\w)(?:change|set|reset|update)_?(?:user_?)?pass(?:word|wd|code))\((?P<given>[^()\r\n]{1,400})\)"
)
_QUOTED = re.compile(r"[\"']([^\"'\r\n]{1,200})[\"']")
#: ``set psksecret …``, a line of a router's configuration
_SET = re.compile(
    r"^[ \t]{0,16}(?:set[ \t]{1,4}(?P<name>[A-Za-z_][\w.-]{4,63}+)|(?P<compound>[A-Za-z]{2,24}[._-][\w.-]{3,48}+))"
    r"[ \t]{1,8}(?:ENC )?(?P<quote>[\"']?)(?P<value>[^\s\"'=:|(]{4,300})(?<!,)(?P=quote);?[ \t]*$",
    re.MULTILINE,
)
#: ``pwd = new String("…")``, ``"password": String("…")``, ``password => <<"…">>``
_MADE = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z_][\w.-]{1,63}+)[\"'\]]{0,2}[ \t]{0,4}(?:=>|:=|[:=])[ \t]{0,4}"
    r"(?:(?:new )?[A-Za-z_][\w.:]{1,63}+\([ \t]?|<<)[bru]?[\"'](?P<value>[^\"'\r\n]{1,300})[\"']"
)
#: ``var pwd: string = "…"``, ``$pwd .= '…'``, ``if (pwd == "…")``, ``#define PWD "…"``
_ASSIGNED = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z_][\w.-]{1,63}+)"
    r"(?:(?:[ \t]{0,4}:[ \t]{0,2}[&\w?<>\[\].]{1,24}|[ \t]{1,4}[A-Za-z][\w.]{0,20})?"
    r"[ \t]{0,4}[!=?+.|~:]{0,3}=[ \t]{0,4}"
    r"|[ \t]{1,4}(?:[!=.?+]{1,3}[ \t]{1,4})?)"
    r"[bruf@$]{0,2}(?P<quote>[\"'`])(?P<value>[^\"'`\r\n]{1,300})(?P=quote)"
)
#: ``PASSWORD ?= …``, ``PASSWORD += …``
_ADDED = re.compile(r"(?<![\w.])(?P<name>[A-Za-z_][\w.-]{1,63}+)[ \t]{0,4}[?+]=[ \t]{0,4}(?P<value>[^\s\"']{1,300})")
#: ``--csrf x``
_OPTION = re.compile(
    r"(?<![\w-])--(?P<name>[A-Za-z][\w.-]{2,63}+)[ \t]{1,4}(?P<quote>[\"']?)(?P<value>[^\s\"'-][^\s\"']{0,300})"
)
#: ``password.......x``, as HikariCP logs what it was told
_LEADERS = re.compile(r"(?<![\w.])(?P<name>[A-Za-z][\w-]{1,63}+)\.{4,64}(?P<value>[^\s.]\S{0,300})")
#: A row of two cells.
_ROW = re.compile(
    r"^[\"']?(?P<name>[A-Za-z_][\w.-]{2,63})[\"']?(?:\t|[;,][ \t]{0,4}|[ \t]{1,40}\|[ \t]{1,4})"
    r"[\"']?(?P<value>[^\"'\r\n;,\t]{1,300})[\"']?[;,]?\r?$",
    re.MULTILINE,
)
#: ``// dbPassword is …``
_SAID = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z][\w-]{0,40}(?:[a-z][A-Z]|[_-][A-Za-z])[\w-]{1,40}) (?:is|was|set to|changed to) "
    r"(?P<value>[^\s\"'`]{6,200})(?=$|[ \t]*\r?$)",
    re.MULTILINE,
)
#: What is said of passwords in error messages and on forms.
STOP = frozenset(
    {"required", "invalid", "incorrect", "wrong", "expired", "missing", "correct", "changed", "updated", "encrypted",
     "hashed", "stored", "needed", "mandatory", "optional", "unknown", "disabled", "enabled", "protected", "rejected",
     "accepted", "compromised", "malformed", "unsupported", "unauthorized", "unauthorised", "forbidden", "revoked",
     "successful", "verified", "confirmed", "identical", "different", "similar", "predictable", "guessable", "redacted",
     "hidden", "masked", "secure", "insecure", "authenticated", "ignored", "provided", "present", "absent", "available",
     "unavailable", "returned", "generated", "blacklisted", "blocked", "locked", "matching", "temporary", "permanent",
     "identifier", "expected", "unexpected", "deprecated", "supported", "allowed", "denied", "failed", "success",
     "created", "deleted", "removed", "renewed", "refreshed", "another", "nothing", "something", "always", "already"}
)  # fmt: skip
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\Z|\$|[\w.-]*[.:_-]\Z")


def near(text: str, names: SecretNames) -> Iterator[Span]:
    """Values near what tells of them."""
    if len(text) < 10:
        return
    low = text.lower()
    if _DIGIT.search(text) and any(word in low for word in _TELLING):  # what is unlikely has a digit
        for found in _TOLD.finditer(text):
            for word in _WORD.finditer(text, found.start(1), found.end(1)):
                start, end = word.start(), word.start() + len(word[0].rstrip(".:!?"))
                if unlikely(text[start:end]) and not is_file(text[start:end]):
                    yield start, end
    for pattern in hinted(PLACES, low):
        for found in pattern.finditer(text):
            for group in range(1, len(found.groups()) + 1):
                if found[group] is not None and not MASK.match(text, found.start(group)):
                    yield found.span(group)
    if "(" in text and ('"' in text or "'" in text):
        if any(word in low for word in _CONNECTING):
            yield from (found.span("value") for found in _CONNECTED.finditer(text))
        if any(word in low for word in _SIGNS_IN):
            yield from (found.span("value") for found in _SIGNING.finditer(text))
        if "pass" in low:
            for call in _RENEWING.finditer(text):
                yield from (found.span(1) for found in _QUOTED.finditer(text, *call.span("given")))
        for found in _MADE.finditer(text):
            if names.secret(found["name"]) and not _ENVIRONMENT.match(found["value"].strip()):
                yield found.span("value")
    if '"' in text or "'" in text or "`" in text:
        for found in _ASSIGNED.finditer(text):
            if names.secret(found["name"]) and not _is_said(found["value"], names):
                yield found.span("value")
    if "--" in text:
        for found in _OPTION.finditer(text):
            if names.holds(found["name"], found["value"]) and not is_metavariable(found["value"], names):
                yield found.span("value")
    if "?=" in text or "+=" in text:
        yield from (found.span("value") for found in _ADDED.finditer(text) if names.secret(found["name"]))
    if (" is " in low or " was " in low or " to " in low) and ("_" in text or "-" in text or _CAMEL.search(text)):
        for found in _SAID.finditer(text):
            if names.secret(found["name"]) and found["value"].lower().rstrip(".!") not in STOP:
                yield found.span("value")
    if "code" in low and "\n" in text:
        for found in _LISTED.finditer(text):
            if _DIGIT.search(found[1]):
                yield found.start(1), found.start(1) + len(found[1].rstrip())
    if "...." in text:
        yield from (found.span("value") for found in _LEADERS.finditer(text) if names.secret(found["name"]))
    if "\n" in text:
        for found in _SET.finditer(text):
            value = found["value"]
            told = value.lower() not in STOP and not names.secret(value) and not refers(text, found.start("value"))
            if told and names.holds(found["name"] or found["compound"], value):
                yield found.span("value")
    if "," in text or ";" in text or "\t" in text or "|" in text:
        for found in _ROW.finditer(text):
            if names.secret(found["name"]) and not names.secret(found["value"]):
                yield found.span("value")


def is_metavariable(value: str, names: SecretNames) -> bool:
    """``--password PASSWORD``, as a program explains its options."""
    plain = value.strip("[]<>.,")
    return plain.isupper() and plain.isalpha() and (plain in ("KEY", "CODE", "STRING", "VALUE") or names.secret(plain))


def _is_said(value: str, names: SecretNames) -> bool:
    """What is written behind ``password`` in quotes for people, or for the environment."""
    return " " in value or names.secret(value) or _ENVIRONMENT.match(value) is not None


def unlikely(word: str) -> bool:
    """Whether nobody would write ``word`` but as a secret: letters and digits in turn in seven characters or more, or
    with a sign between them."""
    if not any(map(str.isdigit, word)) or not any(map(str.isalpha, word)) or _NO_SECRET.match(word):
        return False
    if _SIGNED.search(word):
        return len(word) > 7
    return any(len(_TURN.findall(piece)) > 1 for piece in _PIECE.findall(word))
