"""What a secret looks like wherever it stands (sans-IO).

E-mail addresses, payment card numbers, bearer tokens, JSON web tokens, keys of well-known makers, private keys in PEM,
passwords in addresses, and long tokens that no person wrote. UUIDs stay: they are ids, and an example without its ids
cannot be repeated; so do 24 hex digits (the object id of MongoDB). Longer hex strings go: a digest cannot be told from
an API key.

Every pattern is linear: it starts only where a run of its letters starts (look-behind) and gives nothing back
(possessive), or its length is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: What ``Redactor.mask`` makes.
MASK = re.compile(r"\[redacted:[0-9a-f]{8}\]")

SECRET_LETTERS = 24  # shorter tokens are ids as often as secrets
_UNREADABLE_LETTERS = 12  # of a token: half of the shortest secret; a date or a version within a name has fewer

# Nothing below matches a text without one of these: most strings of a JSON document are done after one search.
_PERHAPS = re.compile(r"[@]|://|-----BEGIN|[0-9](?:[ -]?[0-9]){12}|[A-Za-z0-9_+/=-]{16}|eyJ|[Bb][Ee][Aa][Rr][Ee][Rr]\s")

_PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#@:\"'<>\[]{0,128}:)([^\s/?#\"'<>\[]{1,256})@")
_BEARER = re.compile(r"(?i:(?<![\w-])bearer)\s{1,4}([\w.~+/=-]{6,}+)")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){1,4}+", re.ASCII)
# The makers' own prefixes: AWS (IAM user guide, unique ids), GitHub, GitLab, Slack, Google, Stripe and the like.
_MAKERS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}+|gh[pousr]_\w{20,}+|github_pat_\w{20,}+"
    r"|glpat-[\w-]{16,}+|xox[abeoprs]-[\w-]{10,}+|AIza[\w-]{30,}+|(?:sk|rk|pk|whsec)[_-][\w-]{16,}+)",
    re.ASCII,
)
# RFC 5322 §3.4.1, RFC 6532 letters; of the signs only those that people use, as ``to=<bob@...>`` is no local part.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++")
_DIGITS = re.compile(r"(?<![0-9A-Za-z_])(?<![0-9]\.)[0-9]++(?:[ -][0-9]++)*+(?![A-Za-z_])")
_GROUP = re.compile(r"[0-9]+")
_RUN = re.compile(r"[A-Za-z0-9_+=-]{24,}+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9]*+[+/])[A-Za-z0-9+/]{40,}+={0,2}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_READABLE = re.compile(r"[A-Za-z]+[0-9]{0,4}|[0-9]+")  # a word, a word with a number, a number
_BREAKS = re.compile(r"[_+=-]+")
_TURN = re.compile(r"[a-z](?=[A-Z0-9])|[0-9](?=[A-Za-z])|[A-Z](?=[0-9])")

Mask = Callable[[str], str]


def redact_looks(text: str, mask: Mask) -> str:
    """``text`` with everything that looks like a secret replaced by ``mask`` of it."""
    if not _PERHAPS.search(text):
        return text
    if "-----BEGIN" in text:
        text = _private_keys(text, mask)
    if "://" in text:
        text = _URL_PASSWORD.sub(lambda found: found[1] + mask(found[2]) + "@", text)
    text = _BEARER.sub(lambda found: found[0][: found.start(1) - found.start()] + mask(found[1]), text)
    text = _JWT.sub(lambda found: mask(found[0]), text)
    text = _MAKERS.sub(lambda found: mask(found[0]), text)
    if "@" in text:
        text = _EMAIL.sub(lambda found: mask(found[0]), text)
    text = _DIGITS.sub(lambda found: _cards(found[0], mask), text)
    text = _BASE64.sub(lambda found: mask(found[0]) if _mixed(found[0]) else found[0], text)
    return _RUN.sub(lambda found: mask(found[0]) if is_random(found[0]) else found[0], text)


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


def _cards(run: str, mask: Mask) -> str:
    """The card numbers in digits grouped by single blanks or dashes; a number begins and ends with a group.

    13 to 19 digits with a valid check digit (ISO/IEC 7812-1 annex B). Sums up to each digit, with every second one
    doubled, once the even and once the odd ones, make each window a subtraction.
    """
    digits = run.replace(" ", "").replace("-", "")
    if len(digits) < 13:
        return run
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
    pieces: list[str] = []
    done = first = 0
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
            pieces += (run[done : groups[first][0]], mask(digits[start : groups[after - 1][3]]))
            done, first = groups[after - 1][1], after
        else:
            first += 1
    return "".join([*pieces, run[done:]])


def _is_time(digits: str) -> bool:
    """A time in ms, µs or ns: those of 2001 to 2033 begin with 1, which no issuer of so many digits does.

    A leading 0 is no issuer's either (ISO/IEC 7812-1: 0 is for other industries' numbers).
    """
    return digits[0] == "0" or (digits[0] == "1" and len(digits) in (13, 16, 19))


def _private_keys(text: str, mask: Mask) -> str:
    """Whole PEM blocks (RFC 7468); one that was cut off goes to the end."""
    pieces: list[str] = []
    done = 0
    for found in _PEM.finditer(text):
        if found.start() < done:
            continue
        end = text.find("-----END", found.end())
        end = len(text) if end < 0 else end
        pieces += (text[done : found.end()], mask(text[found.end() : end]))
        done = end
    return "".join([*pieces, text[done:]])
