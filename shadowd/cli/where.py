"""``--where 'status >= 500 or worse'``: a small language that chooses exchanges (sans-IO; ``docs/tail.md``).

::

    or    = and { "or" and }            not   = "not" not | "(" or ")" | test
    and   = not { "and" not }           test  = FIELD [ OPERATOR VALUE | [ "not" ] "in" "(" VALUE { "," VALUE } ")" ]

What is not known is equal to nothing: every comparison with it is false, and ``!=`` is the opposite of ``=``. Patterns
are RE2's, so that each exchange is matched in linear time; length and depth of a text are bounded.
"""

from __future__ import annotations

import difflib
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from shadowd.errors import UsageError
from shadowd.exchange.patterns import Pattern, PatternError, compiled
from shadowd.redact.quoting import visible

Exchange = Mapping[str, Any]
Where = Callable[[Exchange], bool]

MAX_LENGTH = 2000  # characters: a screen of text
MAX_DEPTH = 40  # parentheses and ``not`` within each other: far below Python's recursion limit
_SHOWN = 60  # characters on either side of an error

NUMBER, TIME, SIZE, TEXT, FLAG, WORDS = "number", "time", "size", "text", "flag", "words"


def _of(*path: str) -> Callable[[Exchange], Any]:
    def read(exchange: Exchange) -> Any:
        value: Any = exchange
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return read


def _slower(exchange: Exchange) -> float | None:
    """ms that the shadow took longer."""
    ours, theirs = _of("latency_ms")(exchange), _of("shadow", "latency_ms")(exchange)
    return theirs - ours if ours is not None and theirs is not None else None


def _differing(key: str) -> Callable[[Exchange], list[Any]]:
    return lambda exchange: [one.get(key) for one in exchange.get("differences", ()) if isinstance(one, Mapping)]


#: Name → kind, and how it is read: times in ms, sizes in bytes, ``WORDS`` several texts.
FIELDS: dict[str, tuple[str, Callable[[Exchange], Any]]] = {
    "status": (NUMBER, _of("status")),
    "shadow.status": (NUMBER, _of("shadow", "status")),
    "method": (TEXT, _of("method")),
    "path": (TEXT, _of("path")),
    "endpoint": (TEXT, _of("endpoint")),
    "target": (TEXT, _of("target")),
    "latency": (TIME, _of("latency_ms")),
    "shadow.latency": (TIME, _of("shadow", "latency_ms")),
    "slower": (TIME, _slower),
    "total": (TIME, _of("total_ms")),
    "shadow.total": (TIME, _of("shadow", "total_ms")),
    "size": (SIZE, _of("size")),
    "shadow.size": (SIZE, _of("shadow", "size")),
    "request.size": (SIZE, _of("request_size")),
    "differs": (FLAG, _of("differs")),
    "noise": (FLAG, _of("noise")),
    "worse": (FLAG, _of("worse")),
    "better": (FLAG, _of("better")),
    "failed": (TEXT, _of("failed")),
    "shed": (TEXT, _of("shed")),
    "failure": (TEXT, _of("failure")),
    "excused": (TEXT, _of("excused")),
    "diff": (WORDS, _differing("id")),
    "place": (WORDS, _differing("path")),
}
#: Texts that are "" where nothing happened: their name alone asks whether something did.
_EVENTS = frozenset({"failed", "shed", "failure", "excused"})

_UNITS: dict[str, dict[str, float]] = {
    TIME: {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0},
    SIZE: {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30},
}
_WANTED = {NUMBER: "a number", TIME: "a time, such as 20ms or 1.5s", SIZE: "a size, such as 4KB", TEXT: "a text",
           WORDS: "a text", FLAG: "true or false"}  # fmt: skip
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
}  # fmt: skip
_OPERATORS = {"==": "=", "<>": "!=", **{one: one for one in ("!=", "<=", ">=", "!~", "=", "<", ">", "~")}}

_BLANK = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_SIGN = re.compile(r"==|<>|!=|<=|>=|!~|[=<>~]")
_BARE = re.compile(r"[^\s(),'\"]+")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_QUANTITY = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)([A-Za-zµ]*)")
_TRUE = {"true": True, "yes": True, "false": False, "no": False}
_JOINTS = {"and": "and", "or": "or", "not": "not", "&&": "and", "||": "or", "!": "not"}


def parse(text: str) -> Where:
    """What chooses. Raises UsageError, whose remedy has the place in the text below it."""
    if len(text) > MAX_LENGTH:
        raise UsageError(
            f"--where has {len(text):,} characters", f"give at most {MAX_LENGTH:,}: `path ~ 'a|b|c'` is many in one"
        )
    return _Parser(text).whole()


class _Parser:
    """Of one text; ``_at`` is where it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Where:
        if not self._text.strip():
            self._fail("there is nothing in it", "say what is wanted, such as: status >= 500 or worse")
        found = self._or()
        self._skip()
        if self._at < len(self._text):
            if self._text[self._at] == ")":
                self._fail("this ) closes nothing", "take it away, or open it before")
            self._fail(f"{self._here()} is not expected here", "join two tests by `and` or `or`")
        return found

    # --- structure ----------------------------------------------------------------------------------------------------

    def _or(self) -> Where:
        parts = [self._and()]
        while self._joint("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda exchange: any(part(exchange) for part in parts)

    def _and(self) -> Where:
        parts = [self._not()]
        while self._joint("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda exchange: all(part(exchange) for part in parts)

    def _not(self) -> Where:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail("this is nested too deep", f"at most {MAX_DEPTH} parentheses and nots within each other")
        try:
            if self._joint("not"):
                part = self._not()
                return lambda exchange: not part(exchange)
            if self._takes("("):
                opened = self._at - 1
                found = self._or()
                if not self._takes(")"):
                    if self._at < len(self._text):
                        self._fail(f"{self._here()} is not expected here", "`and`, `or` or ) goes on")
                    self._fail("this ( is not closed", "close it with )", opened)
                return found
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Where:
        self._skip()
        began = self._at
        word = _NAME.match(self._text, self._at)
        if word is None or word[0].lower() in ("and", "or", "in"):
            what = self._here() if self._at < len(self._text) else "the end"
            self._fail(f"a field is expected, not {what}", "such as status, latency, path, worse; `not` before it")
        name = word[0].lower()
        if name not in FIELDS:
            self._unknown(word[0], began)
        kind, read = FIELDS[name]
        self._at = word.end()
        self._skip()
        sign = _SIGN.match(self._text, self._at)
        if sign is not None:
            self._at = sign.end()
            return self._compared(name, kind, read, _OPERATORS[sign[0]], sign.start())
        if self._word("in"):
            return self._among(name, kind, read)
        kept = self._at
        if self._word("not") and self._word("in"):
            found = self._among(name, kind, read)
            return lambda exchange: not found(exchange)
        self._at = kept
        if kind not in (FLAG, WORDS) and name not in _EVENTS:
            self._fail(
                f"{name} says nothing alone",
                f"compare it with {_WANTED[kind]}: {name} {_EXAMPLES.get(kind, '= …')}",
                began,
            )
        return lambda exchange: bool(read(exchange))

    # --- tests --------------------------------------------------------------------------------------------------------

    def _compared(self, name: str, kind: str, read: Callable[[Exchange], Any], sign: str, at: int) -> Where:
        if sign in ("~", "!~"):
            if kind not in (TEXT, WORDS):
                self._fail(f"{name} is {_WANTED[kind]}, which no pattern matches", "compare it by = != < <= > >=", at)
            found = self._pattern(read)
            return found if sign == "~" else lambda exchange: not found(exchange)
        if sign not in ("=", "!=") and kind in (TEXT, WORDS, FLAG):
            self._fail(f"{name} has no order", "compare it by = or !=" + ("" if kind == FLAG else ", ~ or in"), at)
        other = self._field(kind)
        if other is not None:
            equal = _related(read, other, _ORDERED[sign if sign != "!=" else "="])
        else:
            equal = _held(kind, read, [self._value(name, kind)], _ORDERED[sign if sign != "!=" else "="])
        return equal if sign != "!=" else lambda exchange: not equal(exchange)

    def _among(self, name: str, kind: str, read: Callable[[Exchange], Any]) -> Where:
        if not self._takes("("):
            self._fail("( is expected after in", f"list them: {name} in (a, b)")
        values = [self._value(name, kind)]
        while self._takes(","):
            values.append(self._value(name, kind))
        if not self._takes(")"):
            self._fail("the list is not closed", ", goes on, ) closes it")
        return _held(kind, read, values, operator.eq)

    def _pattern(self, read: Callable[[Exchange], Any]) -> Where:
        text, began = self._text_value("a pattern")
        try:
            pattern: Pattern = compiled(text.encode("utf-8", "replace"), utf8=True)
        except PatternError as error:
            self._fail(f"the pattern cannot be used: {visible(error)}", "quote what has ( ) or , in it", began)

        def matched(exchange: Exchange) -> bool:
            value = read(exchange)
            texts = value if isinstance(value, list) else [value]
            return any(
                isinstance(one, str) and pattern.search(one.encode("utf-8", "replace")) is not None for one in texts
            )

        return matched

    def _field(self, kind: str) -> Callable[[Exchange], Any] | None:
        """Another field of the same kind: ``shadow.status != status``. Texts are texts."""
        self._skip()
        word = _NAME.match(self._text, self._at)
        if word is None or kind not in (NUMBER, TIME, SIZE):
            return None
        name = word[0].lower()
        if name not in FIELDS:
            return None
        if FIELDS[name][0] != kind:
            self._fail(f"{name} is not {_WANTED[kind]}", f"give {_WANTED[kind]}")
        self._at = word.end()
        return FIELDS[name][1]

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, name: str, kind: str) -> Any:
        text, began = self._text_value(_WANTED[kind])
        if kind in (TEXT, WORDS):
            return text
        if kind == FLAG:
            if text.lower() not in _TRUE:
                self._fail(f"{visible(text, 40)} is neither true nor false", f"{name}, or not {name}", began)
            return _TRUE[text.lower()]
        found = _QUANTITY.fullmatch(text)
        if found is None:
            self._fail(f"{visible(text, 40)} is not {_WANTED[kind]}", f"{name} is {_WANTED[kind]}", began)
        number, unit = float(found[1]), found[2]
        if kind == NUMBER or (kind == SIZE and not unit):
            if unit:
                self._fail(f"{name} has no unit", f"say {found[1]}", began)
            return number
        units = _UNITS[kind]
        unit = unit.lower() if kind == SIZE else unit
        if unit not in units:
            known = "us, ms, s or m" if kind == TIME else "B, KB, MB or GB"
            what = f"{visible(unit)} is no unit of it" if unit else f"{text} of what?"
            self._fail(what, f"{name} is in {known}: {found[1]}{'ms' if kind == TIME else 'KB'}", began)
        return number * units[unit]

    def _text_value(self, wanted: str) -> tuple[str, int]:
        """A quoted or bare text, and where it began."""
        self._skip()
        began = self._at
        quoted = _QUOTED.match(self._text, self._at)
        if quoted is not None:
            self._at = quoted.end()
            inner = quoted[1] if quoted[1] is not None else quoted[2]
            return re.sub(r"\\(['\"])", r"\1", inner), began
        if self._text[self._at : self._at + 1] in ("'", '"') and self._at < len(self._text):
            self._fail("this quotation does not end", f"close it with {self._text[self._at]}")
        bare = _BARE.match(self._text, self._at)
        if bare is None:
            self._fail(f"{wanted} is expected here", "quote a text that has blanks, commas or parentheses")
        if self._text.startswith("(", bare.end()):
            self._fail("this text has parentheses in it", f"quote it: '{visible(bare[0], 40)}(…'", began)
        self._at = bare.end()
        return bare[0], began

    # --- reading ------------------------------------------------------------------------------------------------------

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at

    def _takes(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _word(self, wanted: str) -> bool:
        self._skip()
        word = _NAME.match(self._text, self._at)
        if word is None or word[0].lower() != wanted:
            return False
        self._at = word.end()
        return True

    def _joint(self, wanted: str) -> bool:
        """``and``, ``or``, ``not``, and what programmers write for them."""
        if self._word(wanted):
            return True
        sign = next(sign for sign, word in _JOINTS.items() if word == wanted and not sign.isalpha())
        if sign == "!" and _SIGN.match(self._text, self._at):
            return False
        return self._takes(sign)

    def _here(self) -> str:
        found = _BARE.match(self._text, self._at)
        return visible(found[0] if found is not None else self._text[self._at], 40)

    def _unknown(self, word: str, at: int) -> NoReturn:
        near = difflib.get_close_matches(word.lower(), FIELDS, 1, 0.6)
        meant = f"did you mean {near[0]}?" if near else f"fields are: {', '.join(FIELDS)}"
        self._fail(f"there is no field {visible(word, 40)}", meant, at)

    def _fail(self, problem: str, remedy: str, at: int | None = None) -> NoReturn:
        at = self._at if at is None else at
        begin, end = max(0, at - _SHOWN), at + _SHOWN
        before = ("…" if begin else "") + visible(self._text[begin:at], MAX_LENGTH * 10)
        after = visible(self._text[at:end], MAX_LENGTH * 10) + ("…" if end < len(self._text) else "")
        raise UsageError(
            f"--where, column {at + 1}: {problem}", f"{remedy}\n  {before}{after}\n  {' ' * _cells(before)}^"
        )


_EXAMPLES = {NUMBER: ">= 500", TIME: "> 20ms", SIZE: "> 4KB"}


def _held(
    kind: str, read: Callable[[Exchange], Any], values: list[Any], compare: Callable[[Any, Any], bool]
) -> Where:  # fmt: skip
    """Whether what is read, or one of several texts, stands so to one of the values."""
    if kind == FLAG:
        return lambda exchange: bool(read(exchange)) in values
    if kind == WORDS:
        return lambda exchange: any(one in values for one in read(exchange))

    def test(exchange: Exchange) -> bool:
        value = read(exchange)
        return value is not None and any(compare(value, one) for one in values)

    return test


def _related(
    read: Callable[[Exchange], Any], other: Callable[[Exchange], Any], compare: Callable[[Any, Any], bool]
) -> Where:  # fmt: skip
    def test(exchange: Exchange) -> bool:
        left, right = read(exchange), other(exchange)
        return left is not None and right is not None and compare(left, right)

    return test


def _cells(text: str) -> int:
    """Columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else not unicodedata.combining(one) for one in text)
