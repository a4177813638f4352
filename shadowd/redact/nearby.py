r"""Secrets that stand near what tells of them (sans-IO): in a sentence that speaks of a password, at their place in the
configuration of one program, as the third argument of what connects, in a row of two cells.

What stands beside the noun is found by ``named``; here a word further on is masked if no person would write it for
another reason: letters and digits in turn (``k7Qr2x9b``), and none of the terms of the trade that are spelt so
(``oauth2client``). All patterns are possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.names import SecretNames
from shadowd.redact.secrets import MASK, Span

_TOLD = re.compile(
    r"(?<![A-Za-z])(?:pass(?:word|wd|phrase|code|wort)|pwd|psk|secret|credential|creds|kennwort|mot de passe|senha"
    r"|contrase[nñ]a|api[ _-]?key|(?:access|secret|private|license|encryption)[ _-]?key|community string"
    r"|(?:(?:access|auth|api|refresh|session|bearer|security|bot)[ _-]?)?token|login (?:is|was))s?(?![A-Za-z])"
    r"([^\r\n]{1,100})",
    re.IGNORECASE,
)
_TELLING = ("pass", "pwd", "psk", "secret", "cred", "kennwort", "senha", "contrase", "key", "community", "token", "login ",
            "mot de")  # fmt: skip
_WORD = re.compile(r"[^\s\"'`<>(){}\[\],;=|/\\]{7,64}+")
_PIECE = re.compile(r"[^._-]{7,}")
_TURN = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")
_SIGNED = re.compile(r"[A-Za-z0-9][!*~^%&+?$#][A-Za-z0-9]")
_NO_SECRET = re.compile(
    r"[0-9a-f-]+\Z|v?[0-9]+[.-][0-9]|[0-9]{4}-?[0-9]{2}|[0-9][0-9.,]*[A-Za-z]{0,3}\Z|[\w.+-]+@[\w-]+\.|\w+:[0-9]+\Z|[\w-]+\.[a-z]+\Z"
    r"|.*(?i:oauth2|base64|b64|sha[0-9]|utf8|utf-8|md5|x86|i18n|l10n|k8s|http2|ipv[46]|web3|log4j|ec2|rfc[0-9]|p2p|b2b|aes[0-9]"
    r"|rsa[0-9]|ed25519|x25519|x509|pkcs|pbkdf2|2fa|mp[34]|hs256|rs256|es256|ps256|redacted|h264|s3|%[0-9a-f]{2}|u00)"
)

# Each with what stands in every text that it finds something in (in lower case).
_PLACES = tuple(
    (hints, re.compile(pattern, re.MULTILINE | flags))
    for hints, flags, pattern in (
        (("com2sec",), 0, r"\bcom2sec6?\s{1,4}\S{1,64}\s{1,4}\S{1,64}\s{1,4}(\S{1,200})"),
        (("community",), 0, r"\br[ow]community6?\s{1,4}(\S{1,200})"),
        (("snmp",), 0, r"\bsnmp-server host \S{1,64} (?:(?:traps|informs) )?(?:version \S{1,3} (?:(?:auth|noauth|priv) )?)?"
                       r"(\S{1,200})"),
        (("snmp",), 0, r"\bsnmp[ -](?:server |v2c? )?community\s{1,4}(?:\"|')?([^\s\"']{1,200})"),
        ((" key", "-key", " password", " secret"), 0,
         r"\b(?:authentication|isakmp|message-digest|ikev2|pre-shared|shared|md5|chap|pap|tacacs|radius|wpa|wep|bgp|hsrp|vrrp"
         r"|ntp|trusted|key-chain|neighbor)[\w .:-]{0,24}[ -](?:key|password|secret|key-string|passphrase)(?: [0-9]{1,3})?"
         r"(?: (?:md5|ascii|hex|sha1|ascii-text|local|address|plain-text))?[ \t]\"?([^\s\";,]{1,200})"),
        ((": psk", ": eap", ": xauth", ": ntlm"), 0, r"(?<!\S)(?::[ \t])(?:PSK|EAP|XAUTH|NTLM)[ \t]{1,4}[\"']?([^\s\"']{1,200})"),
        (("user ",), 0, r"\buser \S{1,64} on [^\r\n]{0,100}?(?<=\s)[>#](\S{1,200})"),
        ((" auth ",), 0, r"\b(?:stats|http) auth [^\s:]{1,64}:(\S{1,200})"),
        (("-u",), 0, r"(?<!\S)-U[ \t]?[^\s%]{1,64}%([^\s\"']{1,200})"),
        (("chpasswd",), 0, r"\bchpasswd\b[^\r\n]{0,20}?<<<[ \t]?[\"']?[^\s:]{1,64}:([^\s\"']{1,200})"),
        (("echo ",), 0, r"\becho (?:-n |-e )?[\"']?(?:[^\s:\"'|]{1,64}:)?([^\s\"'|]{4,200})[\"']?[ \t]?\|[^\r\n|]{0,80}?"
                        r"(?:passw|login|sudo -S|secret)"),
        # options of commands that only their program knows
        (("http ", "https "), 0, r"\bhttps? [^\r\n|;]{0,100}?(?:-a|--auth)[ =][^\s:]{1,64}:(\S{1,200})"),
        (("lftp",), 0, r"\blftp [^\r\n|;]{0,100}?-u [^\s,]{1,64},(\S{1,200})"),
        (("openssl", "zip ", "mosquitto_", "ipmitool", "xfreerdp", "rar ", "7z", "sqlplus", "cqlsh", "winexe", "snmp", "sudo"), 0,
         r"\b(?:openssl (?=[^\r\n]{0,200} -k )|zip (?=[^\r\n]{0,200}-P)|unzip (?=[^\r\n]{0,200}-P)|mosquitto_\w{3}|ipmitool"
         r"|xfreerdp|[uk]?n?rar|7z\w?|cqlsh|snmp\w{3,8} (?=[^\r\n]{0,200}-c)|sudo -S(?= ?<<<))"
         r"[^\r\n|;]{0,200}?(?:(?:(?<=\s)(?:-k |-P[ ]?|/p:|-hp?|-p(?! |-)|-pw |-c )|<<<)[\"']?)([^\s\"'-][^\s\"']{0,200})"),
        (("-x ", "-a "), 0, r"\bsnmp\w{3,8}(?= )[^\r\n]{0,200}? -[AX] [\"']?([^\s\"']{1,200})[\"']?(?:[^\r\n]{0,100}? -X [\"']?([^\s\"']{1,200}))?"),
        (("htpasswd",), 0, r"\bhtpasswd(?: -\w{1,6}){0,3}? -\w{0,4}b\w{0,4} \S{1,128} [^\s]{1,64} [\"']?([^\s\"']{1,200})"),
        (("smbclient",), 0, r"\bsmbclient [\"']?//\S{1,128} [\"']?([^\s\"'-][^\s\"']{0,200})"),
        (("net use",), 0, r"\bnet use \S{1,64}(?: \\\\\S{1,128})? ([^\s/*][^\s]{0,200}) /user"),
        (("net user",), 0, r"\bnet user [^\s/]{1,64} ([^\s/*][^\s]{0,200})"),
        (("securestring",), 0, r"\bConvertTo-SecureString (?:-String )?[\"']([^\"'\r\n]{1,200})[\"']"),
        (("add_user", "change_password", "authenticate_user"), 0,
         r"\b(?:add_user|change_password|authenticate_user) [^\s-]{1,64} [\"']?([^\s\"'-][^\s\"']{0,200})"),
        (("wpa_passphrase",), 0, r"\bwpa_passphrase (?:\"[^\"]{1,64}\"|\S{1,64}) [\"']?([^\s\"'=][^\"'\r\n]{0,100})"),
        (("storepass", "keypass", "-passin", "-passout", "-passwd"), 0,
         r"(?<!\S)-(?:(?:src|dest|new)?(?:store|key)pass|pass(?:in|out)(?= pass:)|passwd) (?:pass:)?[\"']?([^\s\"'-][^\s\"']{0,200})"),
        (("--creds", "--auth", "--dest-creds", "--src-creds"), 0, r"--(?:src-|dest-)?(?:creds|auth)[ =][^\s:]{1,64}:(\S{1,200})"),
        (("(pass", "(pw", "(pin", "(token", "(secret", "(key"), 0,
         r"(?<!\S)([^\s\"'()]{4,100}) \((?:temporary |initial |default )?(?:password|passwd|pw|pin|token|secret|passphrase|api key)\)"),
        (("send",), 0, r"\b[Pp]assw?o?r?d?[^\r\n]{0,40}[\r\n]{0,2}[ \t]{0,8}send(?:line)? (?:-- )?\"([^\"\\\r\n]{1,200})\\[rn]"),
        (("::add-mask::",), 0, r"::add-mask::(\S{1,200})"),
        # maps of hosts: ``[mail.example]:587 bob:…``
        (("]",), 0, r"(?:^|\s)\[[\w.-]{1,128}\](?::[0-9]{1,5})?[ \t]{1,8}[^\s:\[\]{}()\"'=]{1,64}:([^\s\"'{}]{4,200})$"),
        ((":",), 0, r"^[ \t]{0,16}[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}:[0-9]{2,5}[ \t]{1,8}[^\s:=]{1,64}:(\S{4,200})$"),
        # pppd's: client, server, secret, addresses
        (("*\n", "* \n", "*\r"), 0,
         r"^\"?[\w.@-]{1,64}\"?[ \t]{1,8}(?:\*|[\w.-]{1,64})[ \t]{1,8}\"?([^\s\"|]{4,200})\"?[ \t]{1,8}\*[ \t]{0,8}$"),
        (("password", "passwd", "passphrase", "secret"), 0,
         r"^[ \t]{0,16}[A-Za-z_]{0,40}(?:Password|Passwd|PassPhrase|Secret)[ \t]{1,8}[\"']?([^\s\"'=:]{4,200})[\"']?;?[ \t]{0,8}$"),
        (("createuser",), 0, r"\bcreateUser[ \t]{1,4}(?:-e \S{1,80} )?\S{1,64}[ \t]{1,4}\S{2,8}[ \t]{1,4}\"?([^\s\"]{1,200})\"?"
                             r"(?:[ \t]{1,4}\S{2,6}[ \t]{1,4}\"?([^\s\"]{1,200}))?"),
        # ``Enter 570011 as your one-time code``, ``<p>Code: <b>194622</b>``
        (("code", "pin", "otp", "verif", "confirm", "log in", "sign in"), re.IGNORECASE,
         r"\b(?:enter|use|type|is|code|pin)[: ]{1,3}([0-9]{4,8}) (?:to|as|for|when)\b[^.\r\n]{0,60}?"
         r"\b(?:code|log ?in|sign ?in|verif|confirm|otp|pin\b|passcode)"
         r"|(?:^|[>.!?] ?)[ \t]{0,8}(?:your |the )?(?:code|pin|otp)(?: is|:)\s{1,4}([0-9]{4,8})(?![\w.-])"),
    )
)  # fmt: skip
_GIVEN = r"\s{0,8}(?:\"[^\"\r\n]{0,300}\"|'[^'\r\n]{0,300}'|[^\s,()\"']{1,100})\s{0,8},"
_CONNECTED = re.compile(
    r"(?<!\w)(?:PDO|mysqli|imap_open|ssh2_auth_password|\w{0,40}(?:[cC]onnect|[cC]onnection|[lL]ogin|_bind|[bB]ind))"
    rf"\s?\({_GIVEN}{_GIVEN}\s{{0,8}}[\"'](?P<value>[^\"'\r\n]{{1,300}})[\"']"
)
_CONNECTING = ("connect", "pdo", "mysqli", "login", "bind", "imap_open", "ssh2_auth")
#: ``pwd = new String("…")``, ``secret = SecretStr('…')``
_MADE = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z_][\w.]{1,63}+)[ \t]{0,4}:?=[ \t]{0,4}(?:new )?[A-Za-z_][\w.]{1,63}+\([ \t]?[bru]?[\"'](?P<value>[^\"'\r\n]{1,300})[\"']"
)
#: ``password.......x``, as HikariCP logs what it was told
_LEADERS = re.compile(r"(?<![\w.])(?P<name>[A-Za-z][\w-]{1,63}+)\.{4,64}(?P<value>[^\s.]\S{0,300})")
#: A row of two cells.
_ROW = re.compile(
    r"^[\"']?(?P<name>[A-Za-z_][\w.-]{2,63})[\"']?[;,\t][\"']?(?P<value>[^\"'\r\n;,\t]{1,300})[\"']?\r?$", re.MULTILINE
)
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\Z|\$|[\w.-]*[.:_-]\Z")


def near(text: str, names: SecretNames) -> Iterator[Span]:
    """Values near what tells of them."""
    if len(text) < 10:
        return
    low = text.lower()
    if any(word in low for word in _TELLING):
        for found in _TOLD.finditer(text):
            for word in _WORD.finditer(text, found.start(1), found.end(1)):
                start, end = word.start(), word.start() + len(word[0].rstrip(".:!?"))
                if unlikely(text[start:end]):
                    yield start, end
    for hints, pattern in _PLACES:
        if any(hint in low for hint in hints):
            for found in pattern.finditer(text):
                for group in range(1, len(found.groups()) + 1):
                    if found[group] is not None and not MASK.match(text, found.start(group)):
                        yield found.span(group)
    if "(" in text and ('"' in text or "'" in text):
        if any(word in low for word in _CONNECTING):
            yield from (found.span("value") for found in _CONNECTED.finditer(text))
        for found in _MADE.finditer(text):
            if names.secret(found["name"]) and not _ENVIRONMENT.match(found["value"]):
                yield found.span("value")
    if "...." in text:
        yield from (found.span("value") for found in _LEADERS.finditer(text) if names.secret(found["name"]))
    if "\n" in text:
        for found in _ROW.finditer(text):
            if names.secret(found["name"]) and not names.secret(found["value"]):
                yield found.span("value")


def unlikely(word: str) -> bool:
    """Whether nobody would write ``word`` but as a secret: letters and digits in turn in seven characters or more, or
    with a sign between them."""
    if not any(map(str.isdigit, word)) or not any(map(str.isalpha, word)) or _NO_SECRET.match(word):
        return False
    if _SIGNED.search(word):
        return len(word) > 7
    return any(len(_TURN.findall(piece)) > 1 for piece in _PIECE.findall(word))
