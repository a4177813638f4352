"""Values that differ and say the same: the time of their own answer, and the authority that we changed (sans-IO).

Asked only of values that differ. On each side what tells the time of *this* answer (within ``NEAR``) and what names the
own authority is replaced by a mark; values whose marked texts are equal are alike:

    production, complete at 10:19:26.4      candidate, complete at 10:19:26.7
    "made 2026-11-26T10:19:26Z"             "made 2026-11-26T10:19:27Z"           ──► "made ⟨time⟩" twice
    https://shop.example/login              https://127.0.0.1:8080/login          ──► "https://⟨own⟩/login" twice

The mark tells the form: RFC 3339 in another zone's notation, or seconds where there were milliseconds, are not alike.
An authority is production's or the target's, with or without its port. Its scheme is part of what is compared, unless
the target has another one: a service that forgets https in its redirects is broken.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from shadowd.compare.context import Context

#: How far from the moment its answer was complete a clock may be: it is cut to seconds, and an answer takes time.
NEAR = 2_000_000_000
#: Times nearer to 1970 are no times: a small number would pass for one.
EARLIEST = 600_000_000_000
#: Characters of a value that is looked at; larger ones are pages, which are taken apart before.
LONGEST = 64 << 10

_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
_CLOCK = re.compile(
    r"(?<![A-Za-z0-9.])(?:"
    r"(?P<iso>[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9])(?P<fraction>[.,][0-9]{1,9})?"
    r"(?P<zone>Z|z| ?UTC| ?GMT| ?[+-][0-9]{2}:?[0-9]{2})?"
    r"|(?P<basic>[0-9]{8}T[0-9]{6})Z"
    r"|(?P<http>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}, [0-3][0-9][ -][A-Z][a-z]{2}[ -][0-9]{2,4} "
    r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] (?:GMT|UTC|[+-][0-9]{4}))"
    r"|(?P<asctime>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
    r"(?: UTC| GMT)? [0-9]{4})"
    r"|(?P<number>[0-9]{3,19}(?:\.[0-9]{1,9})?)"
    r")(?![A-Za-z0-9])"
)
_DATE = re.compile(rb"(?im)^date:[ \t]*([^\r\n]{1,60})")


class Alike:
    """Of one pair of answers."""

    __slots__ = ("_authorities", "candidate_time", "production_time")

    def __init__(self, context: Context | None, production_head: bytes, candidate_head: bytes) -> None:
        p = c = 0
        self._authorities: re.Pattern[str] | None = None
        if context is not None:
            p, c = context.production_time, context.candidate_time
            self._authorities = _authorities(context)
        p = p or http_time(_date(production_head))
        c = c or http_time(_date(candidate_head))
        if min(p, c) < EARLIEST:
            p = c = 0
        self.production_time = p
        self.candidate_time = c

    @property
    def timed(self) -> bool:
        """Whether the times of both answers are known."""
        return self.production_time > 0

    @property
    def asks(self) -> bool:
        """Whether anything can be alike that is not equal."""
        return self.production_time > 0 or self._authorities is not None

    def texts(self, production: str, candidate: str) -> bool:
        """Whether two texts are equal, but for times of their own answers and the own authority."""
        p, c = self.marked(production, candidate)
        return p == c

    def marked(self, production: str, candidate: str) -> tuple[str, str]:
        """Both with marks for what tells the time of its answer or names the own authority."""
        p, c = production, candidate
        if p == c or max(len(p), len(c)) > LONGEST:
            return p, c
        if self._authorities is not None:
            p, c = self._authorities.sub(_OWN, p), self._authorities.sub(_OWN, c)
        if self.production_time and p != c:
            p, c = _marked(p, self.production_time), _marked(c, self.candidate_time)
        return p, c

    def numbers(self, production: float | str, candidate: float | str) -> bool:
        """Whether two numbers tell the times of their answers in the same unit."""
        if not self.production_time:
            return False
        p, c = str(production), str(candidate)
        if len(p) > 30 or len(c) > 30:
            return False
        ours, theirs = _unit(p, self.production_time), _unit(c, self.candidate_time)
        return bool(ours) and ours == theirs

    def offsets(self, production: str, candidate: str) -> bool | None:
        """Whether two HTTP-dates are equally far from their own answers; None if that cannot be told."""
        if not self.production_time:
            return None
        p, c = http_time(production), http_time(candidate)
        if not p or not c:
            return None
        return abs((p - self.production_time) - (c - self.candidate_time)) <= NEAR

    def countdown(self, production: str, candidate: str) -> bool:
        """Whether two numbers of seconds differ by no more than a countdown does between the two answers. Zero is
        no number of seconds like others: ``max-age=0`` turns a cache off."""
        if not self.production_time or not (production.isdecimal() and candidate.isdecimal()):
            return False
        if max(len(production), len(candidate)) > 18:
            return False
        p, c = int(production), int(candidate)
        apart = max(NEAR, abs(self.production_time - self.candidate_time))
        return p > 0 and c > 0 and abs(p - c) * 10**9 <= apart


def http_time(text: str) -> int:
    """ns since the Unix epoch of an HTTP-date (RFC 9110 §5.6.7), 0 if it is none; the epoch itself is 1."""
    if not text or len(text) > 60:
        return 0
    try:
        value = parsedate_to_datetime(text)
        return int((value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()) * 10**9 or 1
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0


def _date(head: bytes) -> str:
    found = _DATE.search(head)
    return found[1].decode("latin-1").strip() if found else ""


def _marked(text: str, time: int) -> str:
    return _CLOCK.sub(lambda found: _mark(found, time), text)


def _mark(found: re.Match[str], time: int) -> str:
    kind = found.lastgroup
    text = found[0]
    if found["number"] is not None:
        unit = _unit(text, time)
        return f"\0{unit}" if unit else text
    form = kind or ""
    if found["iso"] is not None:
        kind, fraction, zone = "iso", found["fraction"] or "", (found["zone"] or "").strip()
        form = f"iso{text[10]}{fraction[:1]}{zone if zone[:1] not in ('+', '-') else '+' * len(zone)}"
        value = _iso(found["iso"], fraction, zone)
    elif found["basic"] is not None:
        try:
            value = int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 10**9
        except ValueError:
            value = 0
    else:
        value = http_time(text) if found["http"] is not None else _asctime(text)
    return f"\0{form}" if value and abs(value - time) <= NEAR else text


def _iso(text: str, fraction: str, zone: str) -> int:
    try:
        value = int(datetime.fromisoformat(text.upper()).replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return 0
    value += int(fraction[1:].ljust(9, "0")) if fraction else 0
    if zone[:1] in ("+", "-"):
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * 60 * 10**9
        value -= offset if zone[0] == "+" else -offset
    return value


def _asctime(text: str) -> int:
    parts = text.split()
    try:
        value = datetime.strptime(" ".join((*parts[:4], parts[-1])), "%a %b %d %H:%M:%S %Y")
        return int(value.replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return 0


def _unit(text: str, time: int) -> str:
    """In which unit since the epoch a number tells ``time``; "" if in none."""
    whole, point, fraction = text.partition(".")
    if not whole.isdecimal() or (point and not fraction.isdecimal()) or len(whole) > 19:
        return ""
    for scale, unit in _UNITS:
        value = int(whole) * scale + (int(fraction[:9].ljust(9, "0")) * scale // 10**9 if point else 0)
        if abs(value - time) <= NEAR:
            return unit + point
    return ""


# --- the authority ----------------------------------------------------------------------------------------------------

_OWN = "\0own"


def _authorities(context: Context) -> re.Pattern[str] | None:
    """What names production's authority or the target's in a text; None if both have the same."""
    names = [name.decode("latin-1").strip() for name in (context.production_authority, context.candidate_authority)]
    if not all(names) or names[0].lower() == names[1].lower() or max(map(len, names)) > 300:
        return None
    forms = []
    for name in names:
        host, _, port = name.rpartition(":") if not name.endswith("]") else (name, "", "")
        host = host or name
        forms.append(re.escape(host) + (f"(?::{port})?" if port.isdecimal() else "(?::80|:443)?"))
    scheme = r"(?:https?:(?=//|\\/\\/))?" if context.other_scheme else ""
    slashes = r"(?:(?<![\w.:-])|(?<=/))"
    own = rf"{slashes}(?:{'|'.join(sorted(forms, key=len, reverse=True))})(?!:?[\w-]|\.[\w])"
    if scheme:
        own = rf"{scheme}(?://|\\/\\/)(?:{'|'.join(forms)})(?!:?[\w-]|\.[\w])|{own}"
    return re.compile(own, re.IGNORECASE)


def names_target(text: str, context: Context) -> bool:
    """Whether a text names the authority that was sent to the shadow, and that is not production's."""
    target = context.candidate_authority.decode("latin-1").lower()
    return bool(target) and context.candidate_authority != context.production_authority and target in text.lower()
