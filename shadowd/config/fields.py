"""How one value of a configuration is read, and how everything wrong with a configuration is said at once.

A parser here takes whatever TOML, the control socket or the command line gave (a number or its text form), and
returns the one normal form or raises a *fault*: what is wrong and a hint. ``validated`` builds a model and turns
every fault of it, nested ones included, into ``Fault(key, what, hint)``, in the order of the keys.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from shadowd.config.patterns import tried
from shadowd.errors import UsageError
from shadowd.exchange.patterns import PatternError

SHOWN = 60  # characters of a bad value repeated in a message: enough to find it, and the message stays one line
MAX_ITEMS = 256  # entries of one list: the kernel's tables hold 4096 prefixes over all filters, and a person wrote it
MAX_TEXT = 4096  # characters of one string: PATH_MAX, the longest thing anybody has to say here
MAX_PATTERN = 1024  # characters of a regex: it runs on every request
# RFC 9110 §5.6.2 token, the form of field names and methods
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")


class Fault(NamedTuple):
    """One thing wrong with a configuration; ``key`` is like ``filters[0].ports``, empty for the whole."""

    key: str
    what: str
    hint: str

    def line(self, source: str = "") -> str:
        """``source: key: what — hint``, without the parts that are empty."""
        said = f"{self.what} — {self.hint}" if self.hint else self.what
        return ": ".join(part for part in (source, self.key, said) if part)

    def under(self, key: str) -> Fault:
        """The same fault seen from the table that holds ``key``."""
        inner = self.key if not self.key or self.key.startswith("[") else f".{self.key}"
        return self._replace(key=f"{key}{inner}")


class Faults(Exception):
    """Everything that is wrong with one model."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(fault.line() for fault in faults))
        self.faults = faults


class Strict(BaseModel):
    """A model that cannot be changed once built and knows every one of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def expand(cls, value: object) -> object:
        """A short form written out as a table; anything else as it is."""
        return value

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """The model of its plain form. Raises UsageError with everything that is wrong, a line each."""
        try:
            return validated(cls, value)
        except Faults as found:
            if len(found.faults) == 1:
                only = found.faults[0]
                raise UsageError(only._replace(hint="").line(), only.hint) from None
            raise UsageError(str(found)) from None


M = TypeVar("M", bound=Strict)
T = TypeVar("T")


def fault(what: str, hint: str = "") -> PydanticCustomError:
    """To be raised by a validator."""
    return PydanticCustomError("fault", "{what}", {"what": what, "hint": hint})


def fault_list(faults: Iterable[Fault]) -> PydanticCustomError:
    """To be raised by a validator that found several faults; their keys are relative to the model."""
    return PydanticCustomError("faults", "several faults", {"faults": list(faults)})


def shown(value: object) -> str:
    """A bad value as it may be repeated: on one line, printable, short."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # a number of thousands of digits
        text = type(value).__name__
    text = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    return f"'{escaped(text)}'"


def escaped(text: str) -> str:
    """On one line and printable, whatever it holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def validated(model: type[M], value: object) -> M:
    """``model`` built from a table; raises ``Faults`` with everything that is wrong."""
    if isinstance(value, model):
        return value
    value = model.expand(value)
    if not isinstance(value, Mapping):
        raise Faults([Fault("", f"is {type(value).__name__}, not a table", "give keys and values")])
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise Faults([found for item in error.errors(include_url=False) for found in _faults(model, item)]) from None


def _faults(model: type[Strict], error: Any) -> list[Fault]:
    key = str(error["loc"][0]) if error["loc"] else ""
    match error["type"]:
        case "fault":
            return [Fault(key, error["ctx"]["what"], error["ctx"]["hint"])]
        case "faults":
            return list(error["ctx"]["faults"])
        case "extra_forbidden":
            close = difflib.get_close_matches(key, model.model_fields, 1)
            hint = f"did you mean {close[0]}?" if close else "known: " + ", ".join(model.model_fields)
            return [Fault(shown(key)[1:-1] or "''", "unknown key", hint)]
        case "missing":
            return [Fault(key, "is missing", "it has no default")]
    return [Fault(key, f"{shown(error['input'])} cannot be used: {error['msg']}", "")]


def models(model: type[M], key: str, limit: int) -> Callable[[object], list[M]]:
    """A parser of a list of tables that reports the faults of all of them."""

    def parse(value: object) -> list[M]:
        if not isinstance(value, (list, tuple)):
            raise fault(f"is {type(value).__name__}, not a list", "give a list")
        if len(value) > limit:
            raise fault(f"has {len(value)} entries", f"at most {limit}")
        built: list[M] = []
        faults: list[Fault] = []
        for index, item in enumerate(value):
            try:
                built.append(validated(model, item))
            except Faults as found:
                faults += [entry.under(f"{key}[{index}]") for entry in found.faults]
        if faults:
            raise fault_list(faults)
        return built

    return parse


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise fault(f"{shown(value)} is not true or false", "give true or false")
    return value


def choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed or not isinstance(value, str):
            close = difflib.get_close_matches(str(value)[:SHOWN], allowed, 1)
            raise fault(
                f"{shown(value)} is not known", f"did you mean {close[0]}?" if close else "one of " + either(allowed)
            )
        return value

    return parse


def either(allowed: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = allowed
    return f"{', '.join(most)} or {last}" if most else last


def integer(low: int, high: int, what: str = "") -> Callable[[object], int]:
    """A whole number; text with digits will do. ``what`` is its unit."""

    def parse(value: object) -> int:
        number = value
        if isinstance(number, str) and re.fullmatch(r"[0-9]{1,20}", number):
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool):
            raise fault(f"{shown(value)} is not a whole number", f"give {low} to {high}{what}")
        if not low <= number <= high:
            raise fault(f"{shown(value)} is out of range", f"give {low} to {high}{what}")
        return number

    return parse


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?|\.[0-9]{1,20}", text) else None


def duration(low: float, high: float) -> Callable[[object], float]:
    """Seconds: a number, or text with a unit: ``500ms``, ``5s``, ``2m``, ``1h``, ``14d``."""
    units = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

    def parse(value: object) -> float:
        seconds: float | None = None
        if isinstance(value, str):
            digits = value.strip().rstrip("mshd")
            number = _number(digits.strip())
            unit = value.strip()[len(digits) :]
            seconds = number * units[unit] if number is not None and unit in units else None
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and -1e18 < value < 1e18:
            seconds = float(value)
        if seconds is None:
            raise fault(f"{shown(value)} is not a time", "give seconds, or 500ms, 5s, 2m")
        if not low <= seconds <= high:
            raise fault(f"{shown(value)} is out of range", f"give {_time(low)} to {_time(high)}")
        return seconds

    return parse


def _time(seconds: float) -> str:
    """As a person writes it: ``14d``, ``500ms``."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0"


def size(low: int, high: int) -> Callable[[object], int]:
    """Bytes: a number, or text with a binary unit: ``512KB``, ``16MB``, ``1GB`` (``MiB`` is the same)."""

    def parse(value: object) -> int:
        count: int | None = None
        if isinstance(value, str):
            found = re.fullmatch(r"([0-9]{1,12})\s*(?:([kmg])i?)?b?", value.strip(), re.IGNORECASE)
            if found:
                count = int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[(found[2] or "").lower()]
        elif isinstance(value, int) and not isinstance(value, bool):
            count = value
        if count is None:
            raise fault(f"{shown(value)} is not a size", "give bytes, or 512KB, 16MB, 1GB")
        if not low <= count <= high:
            raise fault(f"{shown(value)} is out of range", f"give {_bytes(low)} to {_bytes(high)}")
        return count

    return parse


def _bytes(count: int) -> str:
    for shift, unit in ((30, "GB"), (20, "MB"), (10, "KB")):
        if count >= 1 << shift:
            return f"{count >> shift} {unit}"
    return f"{count} byte{'s' * (count != 1)}"


def rate(value: object) -> float:
    """A share above 0 up to 1; ``"10%"`` is 0.1."""
    share: float | None = None
    if isinstance(value, str):
        text = value.strip()
        share = _number(text.removesuffix("%").strip())
        if share is not None and text.endswith("%"):
            share /= 100
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        share = float(value) if 0 < value <= 1 else -1.0
    if share is None or not 0 < share <= 1:
        raise fault(f"{shown(value)} is not a rate", "give a number above 0 up to 1, or a percentage such as 10%")
    return share


def cores(value: object) -> float:
    """CPU time for time: ``"50%"`` or 0.5 is half a core, ``"200%"`` two. At most 100 cores."""
    number: float | None = None
    if isinstance(value, str):
        text = value.strip()
        number = _number(text.removesuffix("%").strip())
        if number is not None and text.endswith("%"):
            number /= 100
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    if number is None or not 0.01 <= number <= 100:
        raise fault(f"{shown(value)} is not an amount of CPU", "give a percentage of one core such as 50% or 200%")
    return number


def per_second(value: object) -> float | None:
    """A positive number of events a second; an empty string is no limit."""
    if value is None or value == "":
        return None
    number = _number(value.strip()) if isinstance(value, str) else value
    # above a billion a second nothing can be limited; the bound keeps infinities out
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not 0 < number <= 1e9:
        raise fault(f"{shown(value)} is not a number of requests per second", "give a number above 0, such as 500")
    return float(number)


def text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise fault(f"{shown(value)} is not a line of text", f"give 1 to {MAX_TEXT} printable characters")
    return value


def absolute_path(value: object) -> str:
    path = text(value)
    if not path.startswith("/") or ".." in path.split("/"):
        raise fault(f"{shown(value)} is not an absolute path", "start with / and leave out '..'")
    return path


def optional(parse: Callable[[object], T]) -> Callable[[object], T | None]:
    """An empty string or nothing means: not set."""
    return lambda value: None if value is None or value == "" else parse(value)


def texts(value: object) -> list[str]:
    """A list of strings, or one string."""
    items = [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value
    if not isinstance(items, (list, tuple)):
        raise fault(f"{shown(value)} is not a list", "give a list of strings")
    if len(items) > MAX_ITEMS:
        raise fault(f"has {len(items)} entries", f"at most {MAX_ITEMS}")
    return [text(shown(item)[1:-1] if isinstance(item, int) and not isinstance(item, bool) else item) for item in items]


def port_ranges(value: object) -> tuple[tuple[int, int], ...]:
    """Ports and ranges, ``8080``, ``"8080,9000"``, ``"8000-8010"``, sorted, overlapping ones joined."""
    if isinstance(value, (list, tuple)):  # the normal form is read back as it is
        value = [f"{p[0]}-{p[1]}" if isinstance(p, (list, tuple)) and len(p) == 2 else p for p in value]
    ranges: list[tuple[int, int]] = []
    for item in texts(value):
        for part in item.split(","):
            found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
            if not found:
                raise fault(f"{shown(part)} is not a port", "give ports and ranges such as 8080 or 8000-8010")
            low, high = int(found[1]), int(found[2] or found[1])
            if low > high:
                raise fault(f"{shown(part)} is an empty range", f"did you mean {high}-{low}?")
            if not 1 <= low <= high <= 65535:
                raise fault(f"{shown(part)} is not a port", "ports are 1 to 65535")
            ranges.append((low, high))
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    if len(joined) > MAX_ITEMS:
        raise fault(f"has {len(joined)} ranges", f"at most {MAX_ITEMS}")
    return tuple(joined)


def port_texts(ranges: Iterable[tuple[int, int]]) -> list[str]:
    """The text form of ``ports``: ``["8080", "8000-8010"]``."""
    return [str(low) if low == high else f"{low}-{high}" for low, high in ranges]


def cidrs(value: object) -> tuple[str, ...]:
    """IPv4 and IPv6 networks; a bare address is a network of one."""
    networks: dict[str, None] = {}
    for item in texts(value):
        for part in item.split(","):
            name = part.strip()
            try:
                network = ipaddress.ip_network(name)
            except ValueError:
                try:
                    meant = f"host bits are set, did you mean {ipaddress.ip_network(name, strict=False)}?"
                except ValueError:
                    meant = "give a network such as 10.0.0.0/8 or 2001:db8::/32"
                raise fault(f"{shown(name)} is not a network", meant) from None
            if "%" in name:
                raise fault(f"{shown(name)} names an interface", "leave out the part after '%'")
            networks[str(network)] = None
    return tuple(networks)


def pattern(value: object) -> str:
    """A regular expression (RE2's syntax), matched on the bytes of a request."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN:
        raise fault(f"{shown(value)} is not a regular expression", f"give 1 to {MAX_PATTERN} characters")
    try:
        tried(value.encode())
    except PatternError as error:
        raise fault(f"{shown(value)} is not a regular expression", escaped(str(error))) from None
    except UnicodeEncodeError as error:
        raise fault(f"{shown(value)} is not a regular expression", escaped(str(error))) from None
    return value


def header_name(value: str) -> str:
    name = value.strip()
    if not TOKEN.fullmatch(name):
        raise fault(f"{shown(value)} is not a header name", "letters, digits and -, such as X-Tenant")
    return name


def header_lines(read: Callable[[str, str], str]) -> Callable[[object], tuple[str, ...]]:
    """A parser of ``K: V`` strings; ``read`` is given name and value, checks them and returns the value."""

    def parse(value: object) -> tuple[str, ...]:
        lines = []
        for item in texts(value):
            name, colon, rest = item.partition(":")
            if not colon:
                raise fault(f"{shown(name)} has no colon", "write it as 'Name: value'")
            name = header_name(name)
            lines.append(f"{name}: {read(name, rest.strip())}")
        return tuple(lines)

    return parse


def power_of_two(low: int, high: int) -> Callable[[object], int]:
    """Bytes, as ``size``, and a power of two."""
    measure = size(low, high)

    def parse(value: object) -> int:
        count = measure(value)
        if count & (count - 1):
            raise fault(f"{shown(value)} is not a power of two", f"{_bytes(1 << int(math.log2(count)))} is")
        return count

    return parse
