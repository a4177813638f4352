"""XML and HTML as sequences of leaves, compared by the place of each (sans-IO).

A leaf is (path, text): an element's own text, or one of its attributes.

    <r><at>1</at><p unit="EUR">9</p></r>              $.r.at 1,  $.r.p.@unit EUR,  $.r.p 9
    <meta name="csrf-token" content="a1">             $.meta[name=csrf-token].@content a1

Elements that repeat are one field (``$.feed.entry[*].title``), as in arrays of JSON; cells and other elements without
children in a row, and whatever stands side by side in HTML, are told apart by position (``tr[*].td(2)``).

XML is read by expat, which is linear, with no entity but the five of XML: a document that declares one is refused (a
"billion laughs" costs nothing), external ones are never loaded. HTML is not well-formed, and ``html.parser`` is slow
and has had quadratic cases: here it is cut at ``<`` and ``>`` in one linear pass, which no browser would do, but
which does the same on both sides. What is refused, or beyond ``LEAVES`` and ``DEPTH``, is compared by lines.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple
from xml.parsers import expat

from shadowd.compare.aligned import gaps
from shadowd.compare.alike import Alike
from shadowd.compare.difference import NONE, PATH, Collector, Difference, Differences, Options, shown
from shadowd.compare.jsondiff import JsonError, Unbounded, diff_documents, parse_text_untrusted
from shadowd.compare.textdiff import diff_lines, diff_words

#: Elements, attributes and texts of a document: some 150 ms.
LEAVES = 50_000
#: Nested elements; pages of real sites reach 40.
DEPTH = 100
#: Characters of HTML that are read by structure: some 100 ms. Pages of real sites have 100 KB.
HTML_LIMIT = 1 << 20
#: Children of one element that are told apart by position; more are a list.
CELLS = 16

Leaves = list[tuple[str, str]]


class Markup(NamedTuple):
    """A document: its leaves in order, and its elements (name and number of children in order), which are the same
    in two documents exactly if these are built alike. ``fault``: why it could not be read."""

    leaves: Leaves
    shape: str
    fault: str = ""


#: Attributes that name an element among its like, by custom.
_NAMES = ("name", "property", "http-equiv", "key", "rel", "id", "itemprop", "for")
_NAME = re.compile(r"[A-Za-z][\w.:-]{0,39}\Z")
#: Elements of HTML that have no end.
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
#: Elements that come in lists.
_LISTED = frozenset({"tr", "li", "option", "dt", "dd", "article", "url", "sitemap", "item", "entry"})
_TAG = re.compile(r"(<[^<>]*>)")
_TAG_NAME = re.compile(r"<(/?[A-Za-z][^\s/>]*)")
_ATTRIBUTE = re.compile(r"([^\s=\"'<>/]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")


class MarkupError(Exception):
    """Not markup, or beyond the limits; the text says which."""


class _Element:
    __slots__ = ("attributes", "children", "name", "texts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[_Element] = []
        self.texts: list[str] = []


class _Tree:
    """What both readers build."""

    __slots__ = ("_left", "_stack", "root")

    def __init__(self) -> None:
        self.root = _Element("", {})
        self._stack = [self.root]
        self._left = LEAVES

    def open(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1 + len(attributes)
        if self._left < 0 or len(self._stack) > DEPTH:
            raise MarkupError("too many elements" if self._left < 0 else "nested too deeply")
        element = _Element(name, attributes)
        self._stack[-1].children.append(element)
        self._stack.append(element)

    def close(self, name: str) -> None:
        """The innermost open element of this name, and all within; none, if there is no such element."""
        for depth in range(len(self._stack) - 1, 0, -1):
            if self._stack[depth].name == name:
                del self._stack[depth:]
                return

    def shut(self, name: str) -> None:
        """An element whose end may be left out ends where its like begins (``<p>``, ``<li>``, ``<td>``)."""
        if self._stack[-1].name == name:
            self._stack.pop()

    def text(self, text: str) -> None:
        self._stack[-1].texts.append(text)


def xml_untrusted(data: bytes, charset: str = "") -> Markup:
    """Raises ``MarkupError``: not well-formed, entities declared, or beyond the limits."""
    tree = _Tree()
    parser = expat.ParserCreate(charset or None, namespace_separator=" ")
    parser.buffer_text = True

    def declared(*_: object) -> None:
        raise MarkupError("entities are declared")

    def opened(name: str, attributes: dict[str, str]) -> None:
        tree.open(_local(name), {_local(key): value for key, value in attributes.items()})

    parser.StartElementHandler = opened
    parser.EndElementHandler = lambda name: tree.close(_local(name))
    parser.CharacterDataHandler = tree.text
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(data.lstrip(), True)
    except expat.ExpatError as error:
        raise MarkupError(shown(str(error))) from None
    except (ValueError, LookupError) as error:  # a charset that expat does not know
        raise MarkupError(shown(str(error))) from None
    return _flattened(tree.root, False)


def html_untrusted(text: str) -> Markup:
    """Raises ``MarkupError``: no element at all, or beyond the limits."""
    if len(text) > HTML_LIMIT:
        raise MarkupError("too long")
    pieces = _TAG.split(text)
    if len(pieces) < 3:
        raise MarkupError("no markup")
    tree = _Tree()
    for index, piece in enumerate(pieces):
        if not index & 1:
            if piece.strip():
                tree.text(piece)
        elif piece[1] == "/":
            tree.close(piece[2:-1].strip().lower())
        elif piece[1].isalpha():
            _open_html(tree, piece[1:-1])
        else:  # a comment, a doctype, something of a script
            tree.text(piece)
    # What was never closed, or closed without being open, shows in no element.
    tags = [piece.lower() for piece in map(_tag_name, pieces[1::2]) if piece]
    page = _flattened(tree.root, True)
    return Markup(page.leaves, "\n".join((page.shape, *tags)))


def _tag_name(tag: str) -> str:
    """``/p`` of ``</p>``; "" for what is no tag, and for elements without an end."""
    found = _TAG_NAME.match(tag)
    return found[1] if found is not None and found[1].lower() not in _VOID else ""


def _open_html(tree: _Tree, tag: str) -> None:
    name, _, rest = tag.partition(" ")
    if "\n" in name or "\t" in name or "/" in name:
        name, rest = [*re.split(r"[\s/]", tag, maxsplit=1), ""][:2]
    name = name.lower()
    attributes: dict[str, str] = {}
    if rest:
        for key, double, single, bare in _ATTRIBUTE.findall(rest):
            attributes.setdefault(key.lower(), double or single or bare)
    if name in _LISTED or name in ("p", "td", "th"):
        tree.shut(name)
    tree.open(name, attributes)
    if name in _VOID or rest.endswith("/"):
        tree.close(name)


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _flattened(root: _Element, html: bool) -> Markup:
    leaves: Leaves = []
    shape: list[str] = []
    stack = [("$", root)]
    while stack:
        path, element = stack.pop()
        shape.append(f"{element.name} {len(element.children)}")
        for name, value in sorted(element.attributes.items()):
            leaves.append((f"{path}.@{name[:40]}", value))
        text = (
            "".join(element.texts) if not element.children else " ".join(t for t in map(str.strip, element.texts) if t)
        )
        if text or not (element.children or element.attributes):
            leaves.append((path, text))
        names = [_named(child) for child in element.children]
        counts = Counter(names)
        if counts and max(counts.values()) == 1:
            steps = names
        else:
            cells = len(names) <= CELLS and not any(child.children for child in element.children)
            seen: Counter[str] = Counter()
            steps = []
            for name in names:
                seen[name] += 1
                if counts[name] == 1 and name not in _LISTED:
                    steps.append(name)
                elif name not in _LISTED and (cells or (html and counts[name] <= CELLS)):
                    steps.append(f"{name}({seen[name]})")
                else:
                    steps.append(f"{name}[*]")
        if len(path) < PATH:
            paths = [f"{path}.{step}" for step in steps]
        else:
            paths = [path] * len(steps)
        stack.extend(zip(reversed(paths), reversed(element.children), strict=True))
    return Markup(leaves, "\n".join(shape))


def _named(element: _Element) -> str:
    """``meta[name=author]``: what tells it from its like, where that is a plain name."""
    for key in _NAMES:
        value = element.attributes.get(key)
        if value and _NAME.match(value):
            return f"{element.name[:40]}[{key}={value}]"
    return element.name[:40]


def diff_markup(
    ours: Markup, theirs: Markup, options: Options, where: str = "body", alike: Alike | None = None
) -> Differences:
    """Differences of two documents by the paths of their leaves; another order of the same ones is one difference."""
    production, candidate = ours.leaves, theirs.leaves
    if production == candidate:
        if ours.shape == theirs.shape:
            return NONE
        return Differences((Difference(where, "$", "order", "the same texts", "in elements built otherwise"),))
    found = Collector(options.max_differences)
    if len(production) == len(candidate) and all(p[0] == c[0] for p, c in zip(production, candidate, strict=True)):
        _pairs(production, candidate, options, where, alike, found)
        return found.result()
    p_lines, c_lines = (["\0".join(leaf) for leaf in side] for side in (production, candidate))
    if sorted(p_lines) == sorted(c_lines):
        at = next(i for i, leaf in enumerate(production) if leaf != candidate[i])
        texts = [f"{side[at][0]} {side[at][1]}" for side in (production, candidate)]
        return Differences((Difference(where, "$", "order", *texts),))
    for a, b, x, y in gaps(p_lines, c_lines):
        p, c = production[a:b], candidate[x:y]
        if len(p) == len(c) and all(ours[0] == theirs[0] for ours, theirs in zip(p, c, strict=True)):
            _pairs(p, c, options, where, alike, found)
        else:
            _by_path(p, c, options, where, alike, found)
    return found.result()


def _pairs(
    production: Leaves, candidate: Leaves, options: Options, where: str, alike: Alike | None, found: Collector
) -> None:
    for (path, ours), (_, theirs) in zip(production, candidate, strict=True):
        if ours != theirs:
            _texts(ours, theirs, shown(path, PATH), options, where, alike, found)


def _texts(
    production: str, candidate: str, path: str, options: Options, where: str, alike: Alike | None, found: Collector
) -> None:
    """Two texts of one leaf: JSON (the state that pages carry in a script), lines, or words."""
    p, c = production.strip(), candidate.strip()
    if p[:1] in ("{", "[") and c[:1] in ("{", "["):
        try:
            documents = [parse_text_untrusted(text, options.json_types_strict) for text in (p, c)]
            inner = diff_documents(documents[0], documents[1], options, where, alike)
        except (JsonError, Unbounded):
            pass
        else:
            for one in inner:
                found.add(Difference(where, shown(path + one.path[1:], PATH), one.kind, one.production, one.candidate))
            found.more += inner.more
            return
    if "\n" in p and "\n" in c:
        diff_lines(production, candidate, f"{path}.line", where, alike, found)
    else:
        diff_words(production, candidate, path, where, alike, found)


def _by_path(
    production: Leaves, candidate: Leaves, options: Options, where: str, alike: Alike | None, found: Collector
) -> None:
    """Leaves of one path in pairs, in their order; what has no partner is missing or extra."""
    left: dict[str, list[str]] = {}
    for path, text in reversed(candidate):
        left.setdefault(path, []).append(text)
    for path, text in production:
        others = left.get(path)
        if not others:
            found.add(Difference(where, shown(path, PATH), "missing", text or "(empty)"))
        elif text != (other := others.pop()):
            _texts(text, other, shown(path, PATH), options, where, alike, found)
    for path, texts in left.items():
        if texts:
            found.add(Difference(where, shown(path, PATH), "extra", "", texts[-1] or "(empty)"))
