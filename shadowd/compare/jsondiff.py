"""JSON documents compared as structures (sans-IO).

Both documents are walked together. A path names a field, not a place: array indices are collapsed
(``$.items[*].price``), and so are object keys that are ids themselves (``$.users.{key}.name``, see ``keys.py``), else a
map by id would make a new field of every request. One difference is kept per path and kind. A string that holds JSON on
both sides is compared as what it holds. Numbers are compared as decimals (``numbers.py``).

Arrays are where naive comparison floods. What is done, in order:

=====================  ===========================================================================================
lengths equal          same elements in another order, or the same ids in another order: one ``order`` difference
                       (and the elements of the same id compared); else element by element
lengths differ         one ``length`` difference; then the common beginning, the common end and the elements that both
                       sides have are set aside, and what is left is compared by id or in order: an element that was
                       removed does not make all later ones differ
``Options.unordered``  as above without ``order``: what both sides have is set aside, the rest compared by id
=====================  ===========================================================================================

Elements are "the same" by their canonical text (``json.dumps`` with sorted keys, C speed).
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from json.encoder import encode_basestring
from math import isfinite
from typing import Any

from shadowd.compare.alike import Alike
from shadowd.compare.difference import NONE, PATH, Collector, Difference, Differences, Options, shown
from shadowd.compare.keys import FOLDED, is_id
from shadowd.compare.numbers import Constant, Exact, integer, number, number_as_written

#: Canonical text made for one pair of documents; beyond it arrays are compared element by element. Nested arrays that
#: differ are made canonical once a level: half a megabyte of short values are some 30 ms.
CANONICAL_BYTES = 512 << 10
#: Characters of a key in a path.
KEY = 64
#: Members that identify an object among its siblings, by custom; the first that all of them have is taken.
IDENTITIES = ("id", "_id", "uuid", "key", "name")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAMES = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number", Exact: "number",
}  # fmt: skip
_ABSENT: Any = object()
_STAR: Any = object()
_OPENS = frozenset("{[")
_CLOSES = frozenset("}]")
#: A path on the way down: (path of the parent, key or _STAR); text is made only for what is found.
_Path = tuple[Any, Any] | None


class JsonError(Exception):
    """Not JSON; the text says where."""


class Unbounded(Exception):
    """More nested, or more values, than ``Options`` allows; the text says which."""


def parse_json_untrusted(data: bytes, charset: str = "utf-8", strict: bool = False) -> Any:
    """RFC 8259, of duplicate keys the last wins; NaN, Infinity and integers of more than 4300 digits (Python's bound
    against quadratic cost) are malformed; numbers are doubles. Unless ``strict``, 1.0 becomes 1, so
    that equal numbers have equal canonical texts. Raises ``JsonError``; ``Unbounded`` if it is nested beyond Python's
    own limit."""
    decode = _decode_strictly if strict else _decode
    try:
        try:
            return decode(decoded(data))
        except UnicodeDecodeError:
            return decode(data.decode(charset))
    except RecursionError:
        raise Unbounded("nested too deeply to be parsed") from None
    except ValueError as error:
        raise JsonError(shown(str(error)) if data.strip() else "empty") from None


def decoded(data: bytes) -> str:
    """JSON text by what it looks like; a byte order mark is dropped. Raises ``UnicodeDecodeError``."""
    # UTF-16 and UTF-32 show themselves by the zeros around the first character (RFC 4627 §3).
    encoding = "utf-8-sig" if data[:3] == codecs.BOM_UTF8 else json.detect_encoding(data)
    return data.decode(encoding, "surrogatepass")


def parse_text_untrusted(text: str, strict: bool = False, repeated: bool = False) -> Any:
    """The same of text, and kinder: NaN and Infinity are ``Constant``, numbers that no double holds ``Exact``.
    ``repeated``: of a key that an object has several times all values are kept (``$.key['(repeated)'][*]``). Raises as
    above."""
    if repeated:
        decode = _decode_repeated
    else:
        decode = _decode_kindly_and_strictly if strict else _decode_kindly
    try:
        return decode(text)
    except RecursionError:
        raise Unbounded("nested too deeply to be parsed") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            try:
                return _decode_long(text)
            except (ValueError, RecursionError) as other:
                error = ValueError(str(other))
        raise JsonError(shown(str(error)) if text.strip() else "empty") from None


def _with_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        values: dict[str, list[Any]] = {}
        for key, value in pairs:
            values.setdefault(key, []).append(value)
        made = {key: found[0] if len(found) == 1 else {"(repeated)": found} for key, found in values.items()}
    return made


def _double(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value  # beyond, floats are not exact


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def diff_documents(
    production: Any, candidate: Any, options: Options, where: str = "body", alike: Alike | None = None
) -> Differences:
    """Differences of two parsed documents, an example each. Raises ``Unbounded`` if a limit of ``options`` is reached,
    unless the documents are canonically equal. ``alike``: explains values that differ."""
    walk = _Walk(options, where, alike)
    try:
        walk.compare(production, candidate, None, 0)
    except (Unbounded, RecursionError) as error:
        if _equal(production, candidate):
            return NONE
        raise error if isinstance(error, Unbounded) else Unbounded("nested too deeply") from None
    return walk.found.result()


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_double).decode
_decode_strictly = json.JSONDecoder(parse_constant=_no_constant).decode
_decode_kindly = json.JSONDecoder(parse_constant=Constant, parse_float=number).decode
_decode_kindly_and_strictly = json.JSONDecoder(parse_constant=Constant, parse_float=number_as_written).decode
_decode_long = json.JSONDecoder(parse_constant=Constant, parse_float=number, parse_int=integer).decode
_decode_repeated = json.JSONDecoder(
    parse_constant=Constant, parse_float=number, parse_int=integer, object_pairs_hook=_with_repeated
).decode
#: One spelling of a document: equal texts, equal documents.
_canonical = json.JSONEncoder(sort_keys=True).encode


def _equal(production: Any, candidate: Any) -> bool:
    try:
        return _canonical(production) == _canonical(candidate)
    except RecursionError:
        return False


class _Walk:
    """One comparison: the differences so far and what may still be spent."""

    __slots__ = (
        "_alike", "_allow_extra", "_canonical", "_depth", "_nodes", "_seen", "_strict", "_tolerance", "_unordered",
        "_where", "found",
    )  # fmt: skip

    def __init__(self, options: Options, where: str, alike: Alike | None) -> None:
        self._alike = alike if alike is not None and alike.asks else None
        self.found = Collector(options.max_differences)
        self._where = where
        self._nodes = options.max_nodes
        self._depth = options.max_depth
        self._allow_extra = options.allow_extra
        self._strict = options.json_types_strict
        self._tolerance = options.tolerance
        self._unordered = options.unordered
        self._canonical = CANONICAL_BYTES
        self._seen: set[tuple[_Path, str]] = set()

    def compare(self, p: Any, c: Any, path: _Path, depth: int) -> None:
        kind = type(p)
        if kind is not type(c):
            if not (_numeric(p) and _numeric(c)) or (self._strict and (kind is int) != (type(c) is int)):
                self._add(path, "type", p, c)
            elif not self._close(p, c) and not self._tells_time(p, c):
                self._add(path, "value", p, c)
        elif kind is dict:
            self._enter(len(p) + len(c), depth)
            self._objects(p, c, path, depth)
        elif kind is list:
            self._enter(len(p) + len(c), depth)
            self._arrays(p, c, path, depth)
        elif p != c:
            if kind is str:
                self._strings(p, c, path, depth)
            elif not (_numeric(p) and ((self._tolerance and self._close(p, c)) or self._tells_time(p, c))):
                self._add(path, "value", p, c)

    def _strings(self, p: str, c: str, path: _Path, depth: int) -> None:
        """Two strings that differ."""
        if self._alike is not None and self._alike.texts(p, c):
            return
        if p[:1] in _OPENS and c[:1] in _OPENS and p[-1:] in _CLOSES and c[-1:] in _CLOSES and depth < self._depth:
            self._canonical -= len(p) + len(c)
            if self._canonical > 0:
                try:
                    p_held, c_held = parse_text_untrusted(p, self._strict), parse_text_untrusted(c, self._strict)
                except (JsonError, Unbounded):
                    pass
                else:
                    self.compare(p_held, c_held, path, depth + 1)
                    return
        self._add(path, "value", p, c)

    def _tells_time(self, p: Any, c: Any) -> bool:
        return self._alike is not None and self._alike.numbers(p, c)

    def _enter(self, values: int, depth: int) -> None:
        self._nodes -= values >> 1
        if self._nodes < 0:
            raise Unbounded("too many values")
        if depth > self._depth:
            raise Unbounded("nested too deeply")

    def _objects(self, p: dict[str, Any], c: dict[str, Any], path: _Path, depth: int) -> None:
        common = 0
        for key, ours in p.items():
            theirs = c.get(key, _ABSENT)
            if theirs is _ABSENT:
                self._add((path, key), "missing", ours, _ABSENT)
                continue
            common += 1
            kind = type(ours)
            if kind is not type(theirs) or kind is dict or kind is list or ours != theirs:
                self.compare(ours, theirs, (path, key), depth + 1)
        if common < len(c) and not self._allow_extra:
            for key, theirs in c.items():
                if key not in p:
                    self._add((path, key), "extra", _ABSENT, theirs)

    def _arrays(self, p: list[Any], c: list[Any], path: _Path, depth: int) -> None:
        below = (path, _STAR)
        unordered = bool(self._unordered) and ("*" in self._unordered or _text(path) in self._unordered)
        if len(p) != len(c):
            self._add(path, "length", f"{len(p)} items", f"{len(c)} items")
        if p == c and repr(p) == repr(c):  # the latter because 1 == True
            return
        ours, theirs = self._texts(p), self._texts(c)
        if ours is None or theirs is None:  # too much to sort out
            if len(p) == len(c):
                self._pairs(zip(p, c, strict=True), below, depth)
            return
        if ours == theirs:
            return
        if len(p) == len(c) and not unordered:
            self._same_length(p, c, ours, theirs, path, depth)
            return
        if not unordered:
            p, c, ours, theirs = _trimmed(p, c, ours, theirs)
        p, c = _remainder(p, ours, theirs), _remainder(c, theirs, ours)
        pairs = _by_identity(p, c)
        if pairs is None:
            if unordered and all(map(_numeric, p)) and all(map(_numeric, c)):
                p, c = sorted(p), sorted(c)
            pairs = list(zip(p, c, strict=False))
        self._pairs(pairs, below, depth)

    def _same_length(
        self, p: list[Any], c: list[Any], ours: list[str], theirs: list[str], path: _Path, depth: int
    ) -> None:
        if sorted(ours) == sorted(theirs):
            if not (self._tolerance and all(map(self._close, p, c))):
                self._add(path, "order", p, c)
            return
        pairs: Sequence[tuple[Any, Any]] | None = _by_identity(p, c)
        if pairs is not None and any(other is not theirs for (_, other), theirs in zip(pairs, c, strict=True)):
            # Moved, if the ids are the same ones; else a replaced list, compared in its order.
            name = _identity(p, c)
            if name and {item[name] for item in p} == {item[name] for item in c}:
                self._add(path, "order", p, c)
                self._pairs(pairs, (path, _STAR), depth)
                return
        self._pairs(
            ((a, b) for a, b, x, y in zip(p, c, ours, theirs, strict=True) if x != y),
            (path, _STAR),
            depth,
        )

    def _pairs(self, pairs: Iterable[tuple[Any, Any]], path: _Path, depth: int) -> None:
        for p, c in pairs:
            self.compare(p, c, path, depth + 1)

    def _texts(self, items: list[Any]) -> list[str] | None:
        """Canonical text of every element; None when the budget is spent."""
        if self._canonical <= 0:
            return None
        texts = [_canonical(item) for item in items]
        self._canonical -= sum(map(len, texts))
        return texts

    def _close(self, p: Any, c: Any) -> bool:
        """Equal numbers, within the tolerance."""
        if not (_numeric(p) and _numeric(c)):
            return False
        if p == c:
            return True
        try:
            a, b = float(p), float(c)
        except (OverflowError, ValueError):  # beyond the range of floats
            return False
        if not self._tolerance:
            return False
        return isfinite(a - b) and abs(a - b) <= self._tolerance * max(abs(a), abs(b))

    def _add(self, path: _Path, kind: str, p: Any, c: Any) -> None:
        if (path, kind) in self._seen:  # said at another element: no texts are made
            return
        if self.found.full():
            self.found.more += 1
            return
        self._seen.add((path, kind))
        texts = (p, c) if kind == "length" else (_preview(p), _preview(c))
        if kind == "type" and all(map(_simple, (p, c))):
            texts = (_typed(texts[0], p), _typed(texts[1], c))
        self.found.add(Difference(self._where, _text(path), kind, *texts))


def _numeric(value: Any) -> bool:
    return type(value) is int or type(value) is float or type(value) is Exact


def _simple(value: Any) -> bool:
    return not isinstance(value, (dict, list))


def _typed(text: str, value: Any) -> str:
    return text if value is None else f"{text} ({type_name(value)})"


def type_name(value: Any) -> str:
    """JSON's name of a value's type; classes of other protocols give their own name."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__.lower())


def _trimmed(
    p: list[Any], c: list[Any], ours: list[str], theirs: list[str]
) -> tuple[list[Any], list[Any], list[str], list[str]]:
    """Without the common beginning and the common end."""
    shorter = min(len(ours), len(theirs))
    head = 0
    while head < shorter and ours[head] == theirs[head]:
        head += 1
    tail = 0
    while tail < shorter - head and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    a, b = slice(head, len(ours) - tail), slice(head, len(theirs) - tail)
    return p[a], c[b], ours[a], theirs[b]


def _remainder(items: list[Any], own: list[str], other: list[str]) -> list[Any]:
    """The items whose like is not on the other side, as often as it is not."""
    there = Counter(other)
    rest = []
    for item, text in zip(items, own, strict=True):
        if there[text] > 0:
            there[text] -= 1
        else:
            rest.append(item)
    return rest


def _identity(p: list[Any], c: list[Any]) -> str:
    """The member that identifies the objects of both arrays: a string or integer, unique in each. "" if none does."""
    if not p or not c or not all(type(item) is dict for item in (*p, *c)):
        return ""
    for name in IDENTITIES:
        if all(type(item.get(name)) in (str, int) for item in (*p, *c)) and all(
            len({item[name] for item in side}) == len(side) for side in (p, c)
        ):
            return name
    return ""


def _by_identity(p: list[Any], c: list[Any]) -> list[tuple[Any, Any]] | None:
    """Objects of the same id in pairs, and those without a partner paired in order; None if they have no ids."""
    name = _identity(p, c)
    if not name:
        return None
    known = {item[name]: item for item in c}
    pairs = [(item, known.pop(item[name])) for item in p if item[name] in known]
    taken = {id(item) for item, _ in pairs}
    pairs += zip((item for item in p if id(item) not in taken), known.values(), strict=False)
    return pairs


def _preview(value: Any) -> str:
    """The beginning of a value's JSON text; only as much of it is made as is shown."""
    if value is _ABSENT:
        return ""
    if _simple(value):
        if isinstance(value, (Exact, Constant)):
            return str(value[:SHOWN_TEXT])
        if isinstance(value, str):
            return encode_basestring(value[:SHOWN_TEXT])
        if type(value) is int:
            return str(value) if value.bit_length() <= 1024 else "a number of more than 300 digits"
        return json.dumps(value)
    pieces = islice(json.JSONEncoder(ensure_ascii=False).iterencode(_shallow(value)), SHOWN_TEXT)
    return "".join(pieces)


#: Characters of a string, members of an object or array and pieces of JSON that can end in what is shown.
SHOWN_TEXT = 202


def _shallow(value: Any, depth: int = 3) -> Any:
    """A copy that holds no more than can be shown."""
    if isinstance(value, str):
        return str(value[:SHOWN_TEXT])
    if _simple(value):
        return value if type(value) is not int or value.bit_length() <= 1024 else "…"
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        return {str(k[:KEY]): _shallow(v, depth - 1) for k, v in islice(value.items(), 12)}
    return [_shallow(item, depth - 1) for item in value[:12]]


def _text(path: _Path) -> str:
    """``$.items[*]['a b']``."""
    steps: list[str] = []
    while path is not None:
        path, key = path
        steps.append("[*]" if key is _STAR else _step(key))
    return shown("$" + "".join(reversed(steps)), PATH)


def _step(key: str) -> str:
    if key.isalpha() and key.isascii() and len(key) <= KEY:
        return "." + key
    if is_id(key):
        return "." + FOLDED
    if _IDENTIFIER.match(key):
        return "." + key
    quoted = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{shown(quoted, 4 * KEY)}']"
