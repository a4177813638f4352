"""Two contents compared by what they are (sans-IO). What they are is seen by looking; the label is a hint.

=============  ==========================================  ==========================================================
looks like     seen by                                     compared
=============  ==========================================  ==========================================================
JSON           ``{`` or ``[``, also behind ``)]}'`` and    structurally (``jsondiff``); what stands around it apart
               the like, or in ``callback(...)``;
               anything that is labelled so
lines of JSON  JSON that goes on after its end             as an array of documents
events         lines ``data:``, ``event:`` ...             by event, and JSON within (``event_bodies``); messages of
                                                           JSON-RPC by what they answer (``jsonrpc``)
form, table,   the label; a form also by ``a=1&b=2``       by field, column, part (``forms``)
parts
XML, HTML      ``<``                                       by structure (``markup``), else by lines
text           no NUL, decodes                             by lines and words (``textdiff``)
bytes          the rest                                    by digest: one volatile byte hides the others, and the
                                                           difference says so
=============  ==========================================  ==========================================================

Equal as far as understood is not equal: what neither side can read in its kind is compared in the next simpler one, and
the difference says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from shadowd.compare.alike import Alike
from shadowd.compare.burden import MOST, values
from shadowd.compare.content import Content, known_charset
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.event_bodies import events_document_untrusted, lines_document_untrusted
from shadowd.compare.forms import (
    FormError,
    form_document_untrusted,
    multipart_document_untrusted,
    single,
    table_document_untrusted,
)
from shadowd.compare.grpc import compare_messages, is_grpc
from shadowd.compare.jsondiff import JsonError, Unbounded, decoded, diff_documents, parse_text_untrusted
from shadowd.compare.jsonrpc import in_order, streams
from shadowd.compare.markup import Markup, MarkupError, diff_markup, html_untrusted, xml_untrusted
from shadowd.compare.protobuf import PROTOBUF
from shadowd.compare.protobuf_named import documents
from shadowd.compare.textdiff import diff_texts
from shadowd.protocols.content_digest import DIGEST_BYTES

EMPTY, JSON, LINES, EVENTS, FORM, TABLE, PARTS, XML, HTML, TEXT, BYTES = (
    "empty", "JSON", "lines of JSON", "server-sent events", "a form", "a table", "multipart", "XML", "HTML", "text",
    "bytes",
)  # fmt: skip

_JSON_LINES = frozenset(
    {
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
        "application/json-seq", "application/x-ldjson", "application/jsonlines",
    }
)  # fmt: skip
#: What keeps a page from reading JSON as a script: Angular's, Facebook's and Google's ways.
_GUARD = re.compile(
    r"\s*+(?:\)\]\}'?,?|while\s*+\(\s*+1\s*+\)\s*+;?|for\s*+\(\s*+;\s*+;\s*+\)\s*+;?|throw [^;\n]{1,40};"
    r"|&&&START&&&|\{\}\s*+&&)\s*+"
)
_CALLBACK = re.compile(
    r"\s*+(?:/\*\*/\s*+)?(?:typeof [\w$.]{1,100} === 'function' && )?([A-Za-z_$][\w$.]{0,99})\(\s*+(?=[{\[])"
)
_CALLBACK_END = re.compile(r"\)\s*+;?\s*+\Z")
_EVENT = re.compile(rb"(?:(?:data|event|id|retry):|:[ \r\n])")
_FORM = re.compile(rb"[^=&\s<>{}\"']{1,100}=[^&\s<>{}\"']*(?:&[^=&\s<>{}\"']{1,100}=[^&\s<>{}\"']*)+\s*\Z")
_HTML = re.compile(rb"(?i)<(?:!doctype\s+html|html\b|head\b|body\b)")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_LABELLED = {"application/x-www-form-urlencoded": FORM, "text/csv": TABLE, "text/tab-separated-values": TABLE}
#: What guards and callbacks can begin with.
_GUARDS = frozenset(bytes((letter,)) for letter in b")wft&/")
#: Bytes in which a form is looked for where no label says so.
_FORM_LIMIT = 64 << 10


def compare_contents(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    """Differences of two decoded contents that are not equal."""
    if values(p.data) + values(c.data) > MOST:
        return by_digest(p.data, c.data, "more values than are compared")
    messages = _compare_messages(p, c, options, alike)
    if messages is not None:
        return messages
    ours, theirs = look(p), look(c)
    if ours != theirs:
        ours, theirs = _looked_again(p, ours), _looked_again(c, theirs)
    kinds = {ours, theirs}
    if len(kinds) == 1:
        return _COMPARED[ours](p, c, options, alike)
    if kinds == {JSON, LINES}:
        return _compare_json(p, c, options, alike)
    if JSON in kinds or LINES in kinds:
        other = c if ours in (JSON, LINES) else p
        kind = "malformed" if _labelled_json(other.media_type) else "type"
        return Differences((Difference("body", "$", kind, _described(p, ours), _described(c, theirs)),))
    if EMPTY in kinds:
        return Differences((Difference("body", "", "length", _described(p, ours), _described(c, theirs)),))
    if BYTES in kinds:
        return by_digest(p.data, c.data)
    return _compare_markup(p, c, options, alike) if kinds == {XML, HTML} else _compare_texts(p, c, options, alike)


def _compare_messages(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences | None:
    """Of gRPC or Protocol Buffers; None where they are none."""
    try:
        if is_grpc(p.media_type) and is_grpc(c.media_type):
            return compare_messages((p.media_type, c.media_type), p.data, c.data, options, alike, p.message)
        if p.media_type in PROTOBUF and c.media_type in PROTOBUF:
            pair = documents(p.data, c.data, p.message)
            return None if pair is None else diff_documents(*pair, options, alike=alike)
    except Unbounded as error:
        return by_digest(p.data, c.data, str(error))
    return None


def look(content: Content) -> str:
    """What a content is, by its beginning and its label."""
    data, label = content.data, _label(content)
    begin = data[:1024].lstrip()
    for mark in _BOMS:
        begin = begin.removeprefix(mark)
    begin = begin.lstrip()
    if not begin and not data.strip():
        return EMPTY
    first = begin[:1]
    if label in _JSON_LINES:
        return LINES
    if first in (b"{", b"["):
        return JSON
    if first == b"<":
        return HTML if label == "text/html" or _HTML.match(begin) else XML
    if label == "text/event-stream" or (_EVENT.match(begin) and b"data:" in data):
        return EVENTS
    if label.startswith("multipart/"):
        return PARTS
    if _labelled_json(label):
        return JSON
    if label in _LABELLED:
        return _LABELLED[label]
    end = data[-64:].rstrip()
    if first in _GUARDS or end.endswith((b")", b");")):
        text = begin.decode("latin-1")
        if _GUARD.match(text) or (_CALLBACK.match(text) and end.endswith((b")", b";"))):
            return JSON
    if len(data) <= _FORM_LIMIT and b"&" in data and "script" not in label and _FORM.match(data):
        return FORM
    return TEXT if is_text(content, label) else BYTES


def _looked_again(content: Content, kind: str) -> str:
    """The kind of a content that is of another kind than its counterpart: text may begin with ``[`` as well."""
    if kind != JSON or _labelled_json(content.media_type):
        return kind
    try:
        parse_text_untrusted(_Read(content).text)
    except JsonError as error:
        return LINES if str(error).startswith("Extra data") and content.data.lstrip()[:1] == b"{" else TEXT
    except Unbounded:
        pass
    return kind


def _label(content: Content) -> str:
    """The media type; of one that was said twice the first."""
    return content.media_type.partition(",")[0].strip()


def _labelled_json(label: str) -> bool:
    label = label.partition(",")[0].strip()
    return label in ("application/json", "text/json") or label.endswith("+json")


def is_text(content: Content, label: str) -> bool:
    """Whether bytes are text, as far as the label leaves that open."""
    if label.startswith("text/") or label in _TEXT or label.endswith(("+xml", "+yaml")):
        return b"\0" not in content.data or known_charset(content.charset) != "utf-8"
    if b"\0" in content.data:
        return False
    try:
        content.data.decode(known_charset(content.charset))
    except UnicodeDecodeError:
        return False
    return label != "application/octet-stream" or content.data[:4096].translate(None, _PRINTABLE) == b""


_TEXT = frozenset(
    {
        "application/xml", "application/javascript", "application/x-javascript", "application/ecmascript",
        "application/graphql", "application/yaml", "application/x-yaml", "application/toml", "application/sql",
        "application/x-sh", "image/svg+xml", "application/openmetrics-text", "application/x-mpegurl",
        "application/vnd.apple.mpegurl",
    }
)  # fmt: skip
_PRINTABLE = bytes((9, 10, 12, 13, *range(32, 127), *range(128, 256)))


def _described(content: Content, kind: str) -> str:
    return kind if kind == EMPTY else f"{kind}: {content.text()[:160]}"


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Read:
    """A JSON text: ``text`` without what stands around it, which is ``around``; ``fault`` of its characters."""

    __slots__ = ("around", "fault", "text")

    def __init__(self, content: Content) -> None:
        self.fault = ""
        self.around = ""
        charset = known_charset(content.charset)
        try:
            try:
                self.text = decoded(content.data)
            except UnicodeDecodeError:
                self.text = content.data.decode(charset)
        except UnicodeDecodeError:
            self.text = content.data.decode("utf-8", "surrogateescape")
            self.fault = "not UTF-8"
        if self.text.lstrip()[:1] in ("{", "[") and not self.text.lstrip().startswith("{}"):
            return
        guard = _GUARD.match(self.text)
        if guard is not None:
            self.around = "".join(guard[0].split())
            self.text = self.text[guard.end() :]
            return
        callback = _CALLBACK.match(self.text)
        end = _CALLBACK_END.search(self.text[-64:]) if callback is not None else None
        if callback is not None and end is not None:
            self.around = f"{callback[1]}(...)"
            self.text = self.text[callback.end() : len(self.text) - len(end[0])]


def _compare_json(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    ours, theirs = _Read(p), _Read(c)
    strict = options.json_types_strict
    try:
        documents: list[Any] = []
        faults = ["", ""]
        for index, read in enumerate((ours, theirs)):
            try:
                documents.append(parse_text_untrusted(read.text, strict))
            except JsonError as error:
                documents.append(None)
                faults[index] = str(error)
        if any(faults) and all(not fault or fault.startswith("Extra data") for fault in faults):
            as_lines = [lines_document_untrusted(read.text, options.max_nodes, strict) for read in (ours, theirs)]
            if all(not count for _, count in as_lines):
                return _diff(as_lines[0][0], as_lines[1][0], options, alike)
        if all(faults):
            if not (is_text(p, "") and is_text(c, "")):
                return by_digest(p.data, c.data, "malformed JSON")
            found = _compare_texts(p, c, options, alike)
            labelled = _labelled_json(p.media_type) or _labelled_json(c.media_type)
            return annotated(found, "malformed JSON: compared as text") if labelled else found
        if any(faults):
            texts = [fault or "well-formed JSON" for fault in faults]
            return Differences((Difference("body", "$", "malformed", *texts),))
        found = _diff(documents[0], documents[1], options, alike)
        if not found and _unlike(ours.text, theirs.text):
            repeated = [parse_text_untrusted(read.text, strict, repeated=True) for read in (ours, theirs)]
            found = _diff(repeated[0], repeated[1], options, alike)
    except Unbounded as error:
        return by_digest(p.data, c.data, str(error))
    if ours.around != theirs.around:
        texts = [read.around or "nothing around the JSON" for read in (ours, theirs)]
        found = Differences.of((*found, Difference("body", "", "value", *texts)), found.more)
    if ours.fault != theirs.fault:
        texts = [read.fault or "well-formed JSON" for read in (ours, theirs)]
        found = Differences.of((*found, Difference("body", "$", "malformed", *texts)), found.more)
    return found


def _diff(production: Any, candidate: Any, options: Options, alike: Alike | None) -> Differences:
    return diff_documents(production, in_order(production, candidate), options, alike=alike)


def _unlike(production: str, candidate: str) -> bool:
    """Whether two equal documents differ in more than blanks: keys may stand there twice, of which the last counts."""
    return "".join(production.split()) != "".join(candidate.split())


def _compare_lines(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    try:
        documents, faults = [], []
        for content in (p, c):
            made, count = lines_document_untrusted(_Read(content).text, options.max_nodes, options.json_types_strict)
            documents.append(made)
            faults.append(count)
        if all(count == len(made) for count, made in zip(faults, documents, strict=True)):
            return annotated(_compare_texts(p, c, options, alike), "malformed JSON: compared as text")
        return _diff(documents[0], documents[1], options, alike)
    except Unbounded as error:
        return by_digest(p.data, c.data, str(error))


# --- other structures -------------------------------------------------------------------------------------------------


def _compare_events(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    try:
        most, strict = options.max_nodes, options.json_types_strict
        documents = [events_document_untrusted(content.text(), most, strict) for content in (p, c)]
        ours, theirs = streams(documents[0], documents[1]) or documents
        found = diff_documents(ours, theirs, options, alike=alike)
    except Unbounded as error:
        return annotated(_compare_texts(p, c, options, alike), f"{error}: compared as text")
    return found


def _compare_forms(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    try:
        made = [form_document_untrusted(content.text(), options.max_nodes) for content in (p, c)]
        ours, theirs = single(made[0], made[1])
        return diff_documents(ours, theirs, options, alike=alike)
    except (FormError, Unbounded) as error:
        return annotated(_compare_texts(p, c, options, alike), f"{error}: compared as text")


def _compare_tables(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    delimiter = "\t" if p.media_type == "text/tab-separated-values" else ","
    try:
        made = [table_document_untrusted(content.text(), options.max_nodes, delimiter) for content in (p, c)]
        return diff_documents(made[0], made[1], options, alike=alike)
    except (FormError, Unbounded):
        return _compare_texts(p, c, options, alike)


def _compare_parts(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    made: list[dict[str, Any] | None] = []
    fault = ""
    for content in (p, c):
        try:
            made.append(multipart_document_untrusted(content.data, content.label, options.max_nodes))
        except FormError as error:
            made.append(None)
            fault = str(error)
    ours, theirs = made
    if ours is not None and theirs is not None:
        try:
            return diff_documents(ours, theirs, options, alike=alike)
        except Unbounded as error:
            return by_digest(p.data, c.data, str(error))
    if ours is not None or theirs is not None:
        texts = ["multipart" if document is not None else fault for document in made]
        return Differences((Difference("body", "", "malformed", *texts),))
    if not (is_text(p, "") and is_text(c, "")):
        return by_digest(p.data, c.data, fault)
    return annotated(_compare_texts(p, c, options, alike), f"{fault}: compared as text")


def _compare_markup(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    if look(p) == look(c) == XML:
        ours, theirs = _xml(p), _xml(c)
        if not ours.fault and not theirs.fault:
            return diff_markup(ours, theirs, options, alike=alike)
        if not (ours.fault and theirs.fault) and (p.media_type.endswith("xml") or p.data.lstrip()[:5] == b"<?xml"):
            texts = [side.fault or "well-formed XML" for side in (ours, theirs)]
            return Differences((Difference("body", "$", "malformed", *texts),))
    try:
        pages = [html_untrusted(content.text()) for content in (p, c)]
    except MarkupError:
        return _compare_texts(p, c, options, alike)
    # What the structure does not show, such as blanks between elements, says nothing.
    return diff_markup(pages[0], pages[1], options, alike=alike)


def _xml(content: Content) -> Markup:
    try:
        return xml_untrusted(content.data, content.charset)
    except MarkupError as error:
        return Markup([], "", str(error))


# --- text and bytes ---------------------------------------------------------------------------------------------------


def _compare_texts(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    found = diff_texts(p.text(), c.text(), "body", alike, options.max_differences)
    if not found and p.charset == c.charset and p.text() == c.text():
        return by_digest(p.data, c.data, "bytes that are no characters")
    return found


def by_digest(p: bytes, c: bytes, why: str = "") -> Differences:
    """One difference of two byte strings that are not equal; ``why`` they are not compared otherwise."""
    if p == c:
        return NONE
    note = f" ({why or 'binary'}: compared by digest)"
    texts = [f"{len(data)} bytes, {blake2b(data, digest_size=DIGEST_BYTES).hexdigest()}{note}" for data in (p, c)]
    return Differences((Difference("body", "", "length" if len(p) != len(c) else "digest", *texts),))


def annotated(found: Iterable[Difference], note: str) -> Differences:
    """The same differences, their texts with a note."""
    made = []
    for one in found:
        texts = [f"{text[: max(0, 190 - len(note))]} ({note})" for text in (one.production, one.candidate)]
        made.append(Difference(one.where, one.path, one.kind, *texts))
    return Differences.of(made, found.more if isinstance(found, Differences) else 0)


def _compare_bytes(p: Content, c: Content, options: Options, alike: Alike | None) -> Differences:
    return by_digest(p.data, c.data)


_COMPARED = {
    JSON: _compare_json,
    LINES: _compare_lines,
    EVENTS: _compare_events,
    FORM: _compare_forms,
    TABLE: _compare_tables,
    PARTS: _compare_parts,
    XML: _compare_markup,
    HTML: _compare_markup,
    BYTES: _compare_bytes,
    TEXT: _compare_texts,
    EMPTY: _compare_texts,
}
