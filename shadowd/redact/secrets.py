"""What a secret looks like wherever it stands (sans-IO).

E-mail addresses, payment card numbers (Luhn), IBANs (mod 97), social security numbers, bearer tokens, JSON web tokens,
keys of well-known makers, private keys in PEM, hashed passwords, passwords in addresses, and long tokens that no person
wrote. UUIDs stay: they are ids, and an example without its ids cannot be repeated; so do 24 hex digits (the object id
of MongoDB). Longer hex strings go: a digest cannot be told from an API key.

Every pattern is linear: it starts only where a run of its letters starts (look-behind) and gives nothing back
(possessive), or its length is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.harmless import identifies, is_file, placed

#: What ``Redactor.mask`` makes.
MASK = re.compile(r"\[redacted:[0-9a-f]{8}\]")

SECRET_LETTERS = 24  # shorter tokens are ids as often as secrets
_UNREADABLE_LETTERS = 12  # of a token: half of the shortest secret; a date or a version within a name has fewer

# Nothing below matches a text without one of these: most strings of a JSON document are done after one search.
_PERHAPS = re.compile(
    r"[@$]|//|-----BEGIN|[0-9](?:[ -]?[0-9]){8}|[A-Za-z0-9_+/=.-]{16}|eyJ|[Bb][Ee][Aa][Rr][Ee][Rr]\s"
    r"|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}|BEGIN PGP|PuTTY|\{S{0,2}HA|[Bb]asic |[a-z]{3,8}(?: [a-z]{3,8}){11}"
)

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[0-9]: |AGE-SECRET-KEY-1")
_URL_PASSWORD = re.compile(r"(?<=//)[^\s/?#@:\"'<>\[\]]{0,128}:([^\s/?#\"'<>\[]{1,256})@")
_URL_SIGNED = re.compile(  # people do not encode the signs of their passwords
    r"(?<=//)[^\s/?#@:\"'<>\[\]]{0,128}:([^\s/?#\"'<>\[=]{1,128}[?#][^\s/\"'<>\[=&]{0,128})@"
)
_ORACLE = re.compile(
    r"(?:\bjdbc:oracle:\w{1,8}:|\b(?:sqlplus(?: -\w{1,8}){0,4}|(?i:conn(?:ect)?)) )[\w.$-]{1,64}/([^\s/@]{1,256})@"
)
#: ``eva:…@db.example``, without a scheme
_USER_AT = re.compile(
    r"(?<![\w/:.@+-])(?!(?:mailto|acct|sips?|xmpp|im|tel|npm|workspace|git|file|link):)[\w.+-]{1,64}"
    r":(?=[^\s@:/]{0,64}[0-9!#$%^&*])([^\s@:/\"'<>,;()\[\]{}]{4,64})@(?!sha[0-9])[A-Za-z][\w-]*[\w.:-]*"
)
_URL_USER = re.compile(r"(?<=://)([A-Za-z0-9_.~%-]{16,256})@(?=[\w.-])")
_URL_KEY = re.compile(r"\b(?:https?|nats)://([A-Za-z0-9_.~%-]{8,256})@(?=[\w.-])")
_BEARER = re.compile(r"(?i:(?<![\w-])(?:bearer|basic))\s{1,4}([\w.~+/=-]{6,}+)")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){1,4}+", re.ASCII)
# The makers' own prefixes. AWS (IAM user guide, unique ids), and as their documents and gitleaks' and detect-secrets'
# rules have them; a new maker's key is found as a long token, if it is one.
_PREFIXES = (
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA|APKA|AIPA|ANPA|ANVA)[0-9A-Z]{16}+", r"gh[pousr]_\w{20,}+",
    r"github_pat_\w{20,}+", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[\w.-]{16,}+",
    r"xox[a-z](?>(?:[-.][\w-]+){1,6})", r"xapp-[\w-]{10,}+", r"AIza[\w-]{30,}+", r"ya29\.[\w-]{10,}+",
    r"GOCSPX-[\w-]{16,}+", r"1//0[\w-]{20,}+", r"(?:sk|rk|pk|whsec|acct|sess)[_-][\w-]{16,}+",
    r"LTAI[A-Za-z0-9]{12,}+", r"SG\.[\w-]{12,}+\.[\w-]{12,}+", r"SK[0-9a-f]{32}", r"AC[0-9a-f]{32}",
    r"key-[0-9a-zA-Z]{24,}+", r"[0-9a-f]{32}-us[0-9]{1,2}", r"npm_[A-Za-z0-9]{20,}+", r"pypi-[\w-]{16,}+",
    r"rubygems_[0-9a-f]{20,}+", r"dckr_(?:pat|oat)_[\w-]{16,}+", r"do[opr]_v1_[0-9a-f]{16,}+",
    r"shp(?:at|ca|pa|ss|ua|rat)_[0-9a-fA-F]{16,}+", r"sq0(?:atp|csp|idp)-[\w-]{16,}+", r"EAAA[\w-]{20,}+",
    r"EAA[A-Za-z0-9]{30,}+", r"[0-9]{8,10}:A[AEF][\w-]{30,}+", r"hf_[A-Za-z0-9]{16,}+", r"api_org_[A-Za-z0-9]{16,}+",
    r"dapi[0-9a-f]{24,}+(?:-[0-9]+)?", r"lin_(?:api|oauth)_\w{16,}+", r"(?:secret|ntn)_[A-Za-z0-9]{20,}+",
    r"fig[dour]_[\w-]{16,}+", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{20,}+", r"AT(?:ATT|CTT|BB|STT|OATT)[\w=-]{16,}+",
    r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{12,}+", r"hv[sbr]\.[\w-]{16,}+", r"s\.[A-Za-z0-9]{24}(?![\w.])",
    r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{16,}+", r"gl(?:sa|c|u)_[\w=+/-]{16,}+", r"NR(?:AK|JS|AL|II|RA)-[\w-]{12,}+",
    r"NRI[IQ]-[\w-]{12,}+", r"sntry[su]_[\w=+/.-]{12,}+", r"pscale_\w{2,8}_[\w.=-]{16,}+", r"PMAK-[\w-]{16,}+",
    r"pul-[0-9a-f]{16,}+", r"p8e-[\w-]{16,}+", r"(?:sk|pk|tk)\.eyJ[\w.-]{16,}+", r"ops_eyJ[\w-]{16,}+",
    r"tskey-[\w-]{12,}+", r"sbp_[0-9a-f]{16,}+", r"sb_(?:secret|publishable)_[\w-]{12,}+",
    r"nf[pbcu]_[A-Za-z0-9]{16,}+",
    r"(?:gsk|r8|pplx|xai|fw|tgp|csk|nvapi|jina|voyage|tvly|lsv2|phc|phx|whsec|re|sdk|mob|CLOJARS|EZAK|EZTK|oy2)"
    r"[_-][A-Za-z0-9][\w-]{18,}+",
    r"(?:access|public|link)-(?:sandbox|development|production)-[\w-]{16,}+",
    r"(?:xprv|yprv|zprv)[1-9A-HJ-NP-Za-km-z]{40,}+", r"[5KL][1-9A-HJ-NP-Za-km-z]{50,51}(?![\w])",
    r"AAAA[\w-]{7}:[\w-]{40,}+", r"FLWSECK[\w-]{12,}+", r"rzp_(?:live|test)_\w{10,}+",
    r"00[A-Za-z0-9_-]{40}(?![\w-])", r"[\w~.]{3}[78]Q~[\w~.-]{28,}+", r"SSWS\s{1,2}[\w-]{10,}+", r"ghs_\w{20,}+",
    r"(?:amzn1\.oa2-cs|amzn\.mws)[\w.-]{16,}+", r"A3T[A-Z0-9]{17}", r"shippo_(?:live|test)_\w{16,}+", r"ops_\w{20,}+",
    r"dt0[a-z][0-9]{2}\.[A-Z0-9]{16,}+\.[A-Z0-9]{32,}+", r"pnu_\w{20,}+", r"sk-[\w-]{10,}+", r"GOOG[0-9A-Z]{16,}+",
    r"ddp_\w{20,}+", r"CFPAT-[\w-]{20,}+", r"cloudinary://\S{8,200}", r"(?:live|test)_[\w-]{24,}+",
    r"v1\.[0-9a-f]{40}", r"v[1-4]\.(?:local|public)\.[\w-]{20,}+(?:\.[\w-]+)?",
    r"ST-[0-9]+-[\w.-]{8,}+", r"TGT-[0-9]+-[\w.-]{8,}+", r"PGT(?:IOU)?-[0-9]+-[\w.-]{8,}+",
    r"A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}", r"amqp_\w{20,}+", r"[\w-]{11,40}:APA91b[\w-]{20,}+",
)  # fmt: skip
_MAKERS = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_PREFIXES)})", re.ASCII)
_WEBHOOK = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks|outlook\.office\.com/webhook"
    r"|\.webhook\.office\.com/webhookb2|hooks\.zapier\.com/hooks/catch|maker\.ifttt\.com/use|api\.telegram\.org/bot"
    r"|chat\.googleapis\.com/v1/spaces|open\.feishu\.cn/open-apis/bot/v2/hook|oapi\.dingtalk\.com/robot)(/?[^\s\"'<>)?]{6,400})"
)
# crypt(5), PHC string format, and what frameworks made of them
_HASHED = re.compile(
    r"(?<![\w$])\$(?:[1256][abxy]?|2[abxy]|y|gy|7|apr1|argon2(?:id|i|d)|scrypt|bcrypt(?:-sha256)?|pbkdf2(?:-\w{3,8})?|sha1)\$"
    r"[./A-Za-z0-9$=,+_-]{8,512}"
    r"|(?<![\w{])\{(?:S?SHA[0-9]{0,3}|S?MD5|CRYPT|ARGON2|PBKDF2[\w-]{0,12})\}[A-Za-z0-9+/=$.]{8,512}"
    r"|(?<![\w$])(?:pbkdf2|bcrypt|argon2|scrypt|SCRAM-SHA)[\w-]{0,16}\$[A-Za-z0-9+/=$:,.-]{8,512}"
)
# RFC 5322 §3.4.1, RFC 6532 letters; of the signs only those that people use, as ``to=<bob@...>`` is no local part.
_EMAIL = re.compile(r"(?<![\w.+-])(?!\.|git@)[\w.+-]++(?<!\.)@[\w-]++(?:(?=\.[\w-])\.[\w-]++)++")
# ``eva@firm.example / …``, as people write down who may sign in; an eSIM's activation code (SGP.22 §4.1)
_PAIR = re.compile(r"(?: ?[/|] ?|:)(?=[^\s0-9/]{1,64}[0-9])([^\s\"'`,;/<>=&?#]{6,64})(?=[\s\"'`,;<]|\Z)")
_ESIM = re.compile(r"\bLPA:1\$[\w.-]{1,128}\$([\w-]{4,64})")
_DIGITS = re.compile(r"(?<![0-9A-Za-z_])(?<![0-9]\.)[0-9]++(?:(?=[ -][0-9])[ -][0-9]++)*+(?![A-Za-z_])")
_GROUP = re.compile(r"[0-9]+")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
# 12, 15, 18, 21 or 24 words (BIP 39) and nothing else: hardly a sentence has no shorter, no longer word, and no sign
_PHRASE = re.compile(r"(?<![^\"'>=:\n\r\t])(?: ?)([a-z]{3,8}(?>(?: [a-z]{3,8}){11,23}))(?=[\"'<\r\n]|\Z)")
_RUN = re.compile(r"[A-Za-z0-9_+=~-]{16,}+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9]*+[+/])[A-Za-z0-9+/]{40,}+={0,2}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_READABLE = re.compile(r"[A-Za-z]+[0-9]{0,4}|[0-9]+")  # a word, a word with a number, a number
_OF_WORDS = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z0-9])|[0-9]{3,}|[-_]")
_NAMED = re.compile(r"[A-Za-z]{2,12}_?(?:id)?=|(?:sha[0-9]{1,3}|md5)-")
_BREAKS = re.compile(r"[_+=~-]+")
_TURN = re.compile(r"[a-z](?=[A-Z0-9])|[0-9](?=[A-Za-z])|[A-Z](?=[0-9])")

Span = tuple[int, int]


def looks(text: str, tokens: bool = True) -> Iterator[Span]:
    """Where in ``text`` something looks like a secret; spans may overlap. Without ``tokens`` long random ones stay:
    where ids are expected, they are ids."""
    if not _PERHAPS.search(text):
        return
    if "-----BEGIN" in text or "PuTTY" in text or "AGE-" in text:
        yield from _private_keys(text)
    if "//" in text:
        yield from (found.span(1) for found in _URL_PASSWORD.finditer(text))
        yield from (found.span(1) for found in _URL_SIGNED.finditer(text))
        yield from (found.span(1) for found in _URL_USER.finditer(text) if is_token(found[1]))
        yield from (found.span(1) for found in _URL_KEY.finditer(text) if sum(map(str.isdigit, found[1])) > 1)
        yield from (found.span(1) for found in _WEBHOOK.finditer(text))
    if "@" in text:
        yield from (found.span(1) for found in _ORACLE.finditer(text))
        yield from (found.span(1) for found in _USER_AT.finditer(text))
    if text.count(" ") > 10:
        yield from (found.span(1) for found in _PHRASE.finditer(text) if (found[1].count(" ") + 1) % 3 == 0)
    yield from (found.span(1) for found in _BEARER.finditer(text) if found[0][:1] not in "bB" or _credential(found))
    yield from (found.span() for found in _JWT.finditer(text))
    yield from (found.span() for found in _MAKERS.finditer(text) if _no_words(found[0]))
    if "$" in text or "}" in text:
        yield from (found.span() for found in _HASHED.finditer(text))
        yield from (found.span(1) for found in _ESIM.finditer(text))
    if "@" in text:
        for found in _EMAIL.finditer(text):
            yield found.span()
            if (pair := _PAIR.match(text, found.end())) and any(map(str.isalpha, pair[1])):
                yield pair.span(1)
    yield from (span for found in _DIGITS.finditer(text) for span in _cards(found[0], found.start()))
    yield from (found.span() for found in _SSN.finditer(text))
    yield from (span for found in _IBAN.finditer(text) for span in _ibans(found[0], found.start()))
    if not tokens:
        return
    for found in _BASE64.finditer(text):
        segment = found.start() + found[0].rfind("/") + 1  # it may be a path
        if _mixed(found[0]) and not (placed(text, found.start(), found.end()) or placed(text, segment, found.end())):
            yield found.span()
    for found in _RUN.finditer(text):
        token, start = found[0], found.start()
        if _is_made(token):
            if named := _NAMED.match(token):  # ``trace=…``, ``sha512-…``
                start += named.end()
            if not (placed(text, start, found.end()) or identifies(token)):
                yield found.span()


def _credential(found: re.Match[str]) -> bool:
    """``Basic dXNlcjpwYXNz`` and not ``basic information``."""
    if found[0][1:2] in "eE":
        return True
    value = found[1]
    return len(value) % 4 == 0 and (value.endswith("=") or any(c.isdigit() for c in value) or not value.islower())


def _no_words(token: str) -> bool:
    """``sk-…`` begins keys and also names in CSS (``sk-circle-fade-dot``): a key has a piece that nobody reads."""
    return any(letter.isdigit() for letter in token) or not token.islower()


def _is_made(token: str) -> bool:
    return (
        is_random(token) if len(token) >= SECRET_LETTERS else is_scrambled(token) and sum(map(str.isdigit, token)) > 2
    )


def is_token(piece: str) -> bool:
    """Whether a piece of a path or a parameter was made by a machine: as ``is_random``, but 16 letters are enough where
    upper case, lower case and digits are mixed."""
    if is_file(piece) or identifies(piece):
        return False
    if is_random(piece):
        return True
    rest = _UUID.sub("", piece)
    if len(rest) < 16 or _OBJECT_ID.fullmatch(rest):
        return False
    return _mixed(rest) and not rest.isupper() and any(c.isupper() for c in rest) and any(c.islower() for c in rest)


def is_scrambled(token: str) -> bool:
    """Whether upper case, lower case and digits are mixed as in no name of several words (``OrderItemV2Created``,
    ``S3BucketEC2``): of random ones of 20 letters and digits, 19 in 20 are."""
    if not _mixed(token) or sum(map(str.isdigit, token)) < 2 or not any(map(str.isupper, token)):
        return False
    return any(map(str.islower, token)) and len(_OF_WORDS.sub("", token)) * 9 >= len(token) * 2


def is_random(token: str) -> bool:
    """Whether a token of letters, digits and ``_ - + =`` was made by a machine to be guessed by nobody.

    It has ``SECRET_LETTERS`` or more besides UUIDs, letters and digits, and pieces that are neither word nor number (or
    its letters are mixed as by chance). Of random base64 with three digits or more one in 1,000 is not seen.
    """
    rest = _UUID.sub("", token)
    if len(rest) < SECRET_LETTERS or _OBJECT_ID.fullmatch(rest) or rest.isalpha():
        return False
    if not any(letter.isalpha() for letter in rest) or not any(letter.isdigit() for letter in rest):
        return False
    unreadable = sum(len(piece) for piece in _BREAKS.split(rest) if not _READABLE.fullmatch(piece))
    return unreadable >= _UNREADABLE_LETTERS or _mixed(rest)


def _mixed(token: str) -> bool:
    """Whether upper case, lower case and digits change more often than in a path of words.

    Of two neighbours in random base64 almost every second pair does (0.47), in names of packages and files one in 14.
    """
    return len(_TURN.findall(token)) * 6 >= len(token) and any(letter.isdigit() for letter in token)


def _cards(run: str, at: int) -> Iterator[Span]:
    """The card numbers in digits grouped by single blanks or dashes; a number begins and ends with a group.

    13 to 19 digits with a valid check digit (ISO/IEC 7812-1 annex B). Sums up to each digit, with every second one
    doubled, once the even and once the odd ones, make each window a subtraction.
    """
    digits = run.replace(" ", "").replace("-", "")
    if len(digits) < 13:
        return
    sums = ([0], [0])
    for place, digit in enumerate(map(int, digits)):
        doubled = digit * 2 - 9 if digit > 4 else digit * 2
        sums[place & 1].append(sums[place & 1][-1] + doubled)
        sums[~place & 1].append(sums[~place & 1][-1] + digit)
    # where each group starts and ends: in the run, and among its digits
    groups: list[tuple[int, int, int, int]] = []
    count = 0
    for found in _GROUP.finditer(run):
        groups.append((found.start(), found.end(), count, count := count + found.end() - found.start()))
    first = 0
    while first < len(groups):
        start = groups[first][2]
        after = 0
        for last in range(first, min(first + 19, len(groups))):
            end = groups[last][3]
            if end - start > 19:
                break
            sum_ = sums[end & 1]
            if end - start >= 13 and (sum_[end] - sum_[start]) % 10 == 0 and not _is_time(digits[start:end]):
                after = last + 1
        if after:
            yield at + groups[first][0], at + groups[after - 1][1]
            first = after
        else:
            first += 1


def _is_time(digits: str) -> bool:
    """A time in ms, µs or ns: those of 2001 to 2033 begin with 1, which no issuer of so many digits does.

    A leading 0 is no issuer's either (ISO/IEC 7812-1: 0 is for other industries' numbers), and of 17 and 18 digits are
    only those of Maestro, which begin with 5 or 6; ids that count the time are as long.
    """
    if len(digits) in (17, 18) and digits[0] not in "56":
        return True
    return digits[0] == "0" or (digits[0] == "1" and len(digits) in (13, 16, 19))


def _ibans(run: str, at: int) -> Iterator[Span]:
    """ISO 13616: 15 to 34 letters and digits whose number, the first four moved to the end, is 1 modulo 97.

    Groups of four may be followed by other words in capitals: the longest beginning that is valid counts.
    """
    ends = [found.end() for found in re.finditer(r"[A-Z0-9]+", run)] if not run.isalnum() else range(len(run), 14, -1)
    for end in sorted(ends, reverse=True):
        number = run[:end].replace(" ", "").replace("-", "")
        if 15 <= len(number) <= 34:
            turned = number[4:] + number[:4]
            if int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1:
                yield at, at + end
                return


def _private_keys(text: str) -> Iterator[Span]:
    """Whole blocks (RFC 7468); one that was cut off goes to the end."""
    done = 0
    for found in _PEM.finditer(text):
        if found.start() < done:
            continue
        end = text.find("-----END", found.end())
        if not found[0].startswith("-"):
            end = text.find("Private-MAC", found.end()) if found[0].startswith("P") else found.end() + 60
        done = len(text) if end < 0 else min(end, len(text))
        yield found.end(), done
