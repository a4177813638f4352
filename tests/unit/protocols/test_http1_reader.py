"""RequestReader and ResponseReader: every framing rule, every smuggling shape, and any split of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowd.exchange.exchange import Request, Response
from shadowd.protocols.http1_reader import OversizedRequest, ProtocolError, RequestReader
from shadowd.protocols.http1_response import ResponseReader
from tests.unit.costs import ATTEMPTS, LINEAR, cost, growth

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\nhello\r\n1A;ext="v"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n'
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def requests_of(data: bytes, cut: int = 0, **limits: int) -> list[Request]:
    """All requests of ``data``, fed at once or in pieces of ``cut`` bytes."""
    reader = RequestReader(**limits)
    done: list[Request] = []
    for at in range(0, len(data), cut or len(data)):
        done += reader.feed_untrusted(data[at : at + (cut or len(data))], at)
    assert reader.error is None
    return done


def responses_of(
    data: bytes, *methods: bytes, cut: int = 0, eof: bool = False, body_limit: int = 1 << 20
) -> list[Response]:
    reader = ResponseReader(body_limit)
    for method in methods:
        reader.expect(method)
    done: list[Response] = []
    for at in range(0, len(data), cut or len(data)):
        done += reader.feed_untrusted(data[at : at + (cut or len(data))], at)
    if eof:
        done += reader.eof()
    assert reader.error is None
    return done


def rejects(reader: RequestReader | ResponseReader, data: bytes, cut: int = 0) -> str:
    """The reason for which ``data`` is rejected; no message may come out."""
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        for at in range(0, len(data), cut or len(data)):
            assert not reader.feed_untrusted(data[at : at + (cut or len(data))], 0)
    assert reader.error is caught.value
    return caught.value.reason


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [GET, POST, CHUNKED])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7, 50])
def test_request_is_kept_byte_for_byte(wire: bytes, cut: int) -> None:
    (request,) = requests_of(wire, cut)
    assert request.head + request.body == wire
    assert request.head.endswith(b"\r\n\r\n")
    assert b"\r\n\r\n" not in request.head[:-1]
    assert (request.begin, request.end) == (0, len(wire))
    assert request.size == len(wire)
    assert request.keep_alive
    assert not request.upgrade


def test_method_and_target_as_sent() -> None:
    for line, method, target in [
        (b"GET /a%20b?c=d#e HTTP/1.1", b"GET", b"/a%20b?c=d#e"),
        (b"GET http://h:80/x HTTP/1.1", b"GET", b"http://h:80/x"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS", b"*"),
        (b"PROPFIND / HTTP/1.1", b"PROPFIND", b"/"),
        (b"BREW /pot HTTP/1.1", b"BREW", b"/pot"),
        (b"get / HTTP/1.1", b"get", b"/"),
        (b"GET /caf\xc3\xa9 HTTP/1.1", b"GET", b"/caf\xc3\xa9"),
        (b"UPDATE-IT! /\xe9 HTTP/1.1", b"UPDATE-IT!", b"/\xe9"),
    ]:
        for cut in (0, 1, 5):
            (request,) = requests_of(line + b"\r\nHost: x\r\n\r\n", cut)
            assert (request.method, request.target) == (method, target)
            assert request.head == line + b"\r\nHost: x\r\n\r\n"


def test_times_and_offsets_are_those_of_first_and_last_segment() -> None:
    reader = RequestReader(offset=1000)
    assert not reader.feed_untrusted(POST[:10], 7)
    assert (reader.pending, reader.partial_bytes, reader.head_complete) == (True, 10, False)
    assert not reader.feed_untrusted(POST[10:-2], 8)
    assert (reader.head_complete, reader.partial_method) == (True, b"POST")
    (first, second) = reader.feed_untrusted(POST[-2:] + GET, 9)
    assert (first.begin, first.end, first.started, first.ended) == (1000, 1000 + len(POST), 7, 9)
    assert (second.begin, second.end, second.started, second.ended) == (first.end, first.end + len(GET), 9, 9)
    assert not reader.pending


def test_pipelined_requests_with_blank_lines_between() -> None:
    wire = b"\r\n" + GET + b"\r\n\r\n" + POST + b"\n" + CHUNKED
    reader = RequestReader()
    done = reader.feed_untrusted(wire, 0)
    assert [request.method for request in done] == [b"GET", b"POST", b"PUT"]
    assert b"".join(request.head + request.body for request in done) == GET + POST + CHUNKED
    assert reader.skipped == 7
    assert [request.begin for request in done] == [2, 6 + len(GET), 7 + len(GET) + len(POST)]


def test_obsolete_folding_is_accepted_where_it_is_harmless() -> None:
    wire = b"GET / HTTP/1.1\r\nX-Long: a\r\n  b\r\n\tc\r\nHost: x\r\n\r\n"
    for cut in (0, 1, 9):
        (request,) = requests_of(wire, cut)
        assert request.head == wire


SMUGGLING = {
    "cl+te": b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    "te+cl": b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    "two cl": b"Content-Length: 3\r\nContent-Length: 4",
    "cl list": b"Content-Length: 3, 4",
    "cl list, other digits": b"Content-Length: 3, 03",
    "cl list with nothing": b"Content-Length: 3,, 3",
    "cl list with an end": b"Content-Length: 3, 3,",
    "cl list, then another": b"Content-Length: 3, 3\r\nContent-Length: 4",
    "cl and an empty one": b"Content-Length: 3\r\nContent-Length:",
    "cl list that is no number": b"Content-Length: a, a",
    "cl list of negatives": b"Content-Length: -3, -3",
    "cl list folded": b"Content-Length: 3,\r\n 3",
    "two cl, one folded": b"Content-Length: 3\r\nContent-Length:\r\n 3",
    "two cl, a blank before the colon": b"Content-Length: 3\r\nContent-Length : 3",
    "two cl+te": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
    "cl list+te": b"Content-Length: 3, 3\r\nTransfer-Encoding: chunked",
    "te+cl list": b"Transfer-Encoding: chunked\r\nContent-Length: 3, 3",
    "cl list, control": b"Content-Length: 3, \x013",
    "cl list by blanks": b"Content-Length: 3 3",
    "cl list by semicolons": b"Content-Length: 3; 3",
    "cl list quoted": b'Content-Length: "3, 3"',
    "negative": b"Content-Length: -3",
    "plus": b"Content-Length: +3",
    "hex": b"Content-Length: 0x3",
    "underscore": b"Content-Length: 1_0",
    "overflow": b"Content-Length: 18446744073709551616",
    "leading zeros without end": b"Content-Length: " + b"0" * 5000 + b"3",
    "empty cl": b"Content-Length:",
    "folded cl": b"Content-Length:\r\n 3",
    "cl folded on": b"Content-Length: 3\r\n 0",
    "folded te": b"Transfer-Encoding:\r\n chunked",
    "te folded on": b"Transfer-Encoding: chunked\r\n ,gzip",
    "te not last": b"Transfer-Encoding: chunked, gzip",
    "te without chunked": b"Transfer-Encoding: gzip",
    "te twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "te look-alike": b"Transfer-Encoding: xchunked",
    "te quoted": b'Transfer-Encoding: "chunked"',
    "te vertical tab": b"Transfer-Encoding: \x0bchunked",
    "te parameter": b"Transfer-Encoding: chunked;q=1",
    "space before colon": b"Content-Length : 3",
    "te space before colon": b"Transfer-Encoding : chunked",
    "space before name": b" Content-Length: 3",
    "bare lf": b"A: b\nContent-Length: 3",
    "bare cr": b"A: b\rContent-Length: 3",
    "nul": b"A: b\x00c",
    "no name": b": b",
    "no colon": b"nocolon",
    "bad name": b"a@: b",
}


TOLD_TWICE = [
    b"Content-Length: 2\r\nContent-Length: 2",
    b"Content-Length: 2\r\nX-Between: 1\r\ncontent-length:2",
    b"Content-Length: 2, 2",
    b"Content-Length: 2 ,2\r\nA: b\r\nCONTENT-LENGTH:\t2",
]


@pytest.mark.parametrize("fields", TOLD_TWICE)
@pytest.mark.parametrize("start", [b"POST / HTTP/1.1", b"BREW /\xc3\xa4 HTTP/1.1"])
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_requests_length_that_is_told_twice_is_one(fields: bytes, start: bytes, cut: int) -> None:
    """RFC 9110 §8.6: read, and what is sent on tells it once; the request behind it is whole."""
    head = start + b"\r\nHost: x\r\n" + fields + b"\r\nX: y\r\n\r\n"
    found = requests_of(head + b"ok" + head + b"ok" + POST, cut)
    assert [request.body for request in found] == [b"ok", b"ok", b"hello"]
    assert found[-1].head == POST[:-5]
    for request in found[:2]:
        assert request.head.startswith(start + b"\r\nContent-Length: 2\r\nHost: x\r\n")
        assert request.head.endswith(b"\r\nX: y\r\n\r\n")
        assert request.head.lower().count(b"content-length") == 1
        assert request.end - request.begin == len(head) + 2


def test_a_length_told_twice_with_bare_line_feeds_or_an_upgrade() -> None:
    for cut in (0, 1, 7):
        (request, after) = requests_of(b"PUT / HTTP/1.1\nContent-Length: 2, 2\nHost: x\n\nok" + GET, cut)
        assert (request.head, request.body) == (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nHost: x\r\n\r\n", b"ok")
        assert after.head == GET
        (request,) = requests_of(
            b"PUT / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 2, 2\r\n\r\nok", cut
        )
        assert (request.upgrade, request.body) == (True, b"ok")
        assert request.head.lower().count(b"content-length") == 1


def test_a_length_told_twice_of_nothing() -> None:
    first, second = requests_of(b"POST / HTTP/1.1\r\nContent-Length: 0, 0\r\n\r\n" + GET)
    assert (first.head, first.body, second.head) == (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", GET)


@pytest.mark.parametrize("fields", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_smuggling_shapes_are_rejected(fields: bytes) -> None:
    wire = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n"
    assert rejects(RequestReader(), wire)
    assert rejects(RequestReader(), wire, cut=1)
    assert rejects(RequestReader(), b"BREW" + wire[4:])  # and in a head that has to be mended first
    assert rejects(RequestReader(), wire.replace(b"Host: x\r\n", b"X: a\r\n b\r\nHost: x\r\n"))


@pytest.mark.parametrize(
    "wire",
    [
        b" GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\n\r\n",
        b"GET foo HTTP/1.1\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SOURCE / ICE/1.0\r\n\r\n",
        b"DESCRIBE rtsp://a RTSP/1.0\r\n\r\n",
        b"SET key value\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_request_line_is_rejected(wire: bytes) -> None:
    assert rejects(RequestReader(), wire)
    assert rejects(RequestReader(), wire, cut=1)


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"-1\r\n",
        b"\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
        b"00000000000000003\r\nabc\r\n0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"3;a\nabc\r\n0\r\n\r\n",  # a line's end for one server, part of the extension for another
        b"3;a\x00\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 4\r\nabc\r\n0\r\n\r\n",
        b"3\r\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r0\r\n\r\n",
        b"0\r\nT : v\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nT: v\r\n w\r\n\r\n",
    ],
)
def test_malformed_chunks_are_rejected(body: bytes) -> None:
    wire = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert rejects(RequestReader(), wire)
    assert rejects(RequestReader(), wire, cut=1)


@pytest.mark.parametrize(
    ("body", "strict"),
    [
        (b"3 \r\nabc\r\n0\r\n\r\n", b""),
        (b"3\t \r\nabc\r\n0  \r\n\r\n", b""),
        (b'3 ; a = b ; c\r\nabc\r\n0;x="a\\"b"\r\n\r\n', b""),
        (b"3\nabc\n0\n\n", b""),
        (b"3\r\nabc\n0\r\n\r\n", b""),
        (b"3\nabc\r\n0\nT: v\n\n", b"3\r\nabc\r\n0\r\nT: v\r\n\r\n"),
        (b"3;a=b\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 2, 7])
def test_loose_chunks_are_read_and_kept_in_their_strict_form(body: bytes, strict: bytes, cut: int) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, second = requests_of(head + body + GET, cut)
    assert first.body == (strict or b"3\r\nabc\r\n0\r\n\r\n")
    assert (first.end, second.begin) == (len(head + body), len(head + body))


@pytest.mark.parametrize(
    ("wire", "strict"),
    [
        (b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\r\n\r\n"),
        (b"GET / HTTP/1.1\nA: b\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nA: b\n\n", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nA: b\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        (b"BREW /\xe9 HTTP/1.0\nA: \x01\nConnection: keep-alive\n\n", b""),
        (b"PUT / HTTP/1.1\nContent-Length: 3\n\na\nb", b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"),
        (b"PUT / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\na\n0\n\n", b""),
        (b"GET / HTTP/1.1\r\nA: \x01\x1b[0m\x7f\r\n\r\n", b"GET / HTTP/1.1\r\nA: \x01\x1b[0m\x7f\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nA: b\r\n\tc\x02\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n\tc\x02\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 2, 7])
def test_loose_heads_are_read(wire: bytes, strict: bytes, cut: int) -> None:
    first, second = requests_of(wire + GET, cut)
    assert first.head == (strict or wire.partition(b"\n\n")[0].replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert (first.size, second.begin, second.head) == (len(wire), len(wire), GET)


@pytest.mark.parametrize(
    "fields",
    [
        b"A: b\nContent-Length: 3\r\n",
        b"Content-Length: 3\nA: b\r\n",
        b"A: b\ntransfer-encoding : chunked\r\n",
        b"Content-Length: \x013\r\n",
        b"Connection: \x0bclose\r\n",
        b"A\x01: b\r\n",
        b"A: b\rc\n",
        b"A: \x00\n",
    ],
)
def test_what_two_servers_read_in_two_ways_is_rejected(fields: bytes) -> None:
    wire = b"POST / HTTP/1.1\r\n" + fields + b"\r\nabc"
    assert rejects(RequestReader(), wire)
    assert rejects(RequestReader(), wire, cut=1)


def test_a_loose_head_is_bounded_and_costs_what_it_is_long() -> None:
    reader = RequestReader(max_head=4096)
    reader.feed_untrusted(b"GET / HTTP/1.1\n", 0)
    with pytest.raises(ProtocolError, match="head_too_large"):  # noqa: PT012 - at some line of these
        for _ in range(5000):
            reader.feed_untrusted(b"a:\n", 0)
    assert not reader._wire


SMALL_HEADS = {
    "interim": b"HTTP/1.1 103 Early\n\n",
    "interim, mixed": b"HTTP/1.1 103 Early\r\nA: b\n\r\n",
    "interim, mended": b"HTTP/1.1 103 Early\r\nA: \x01\r\n\r\n",
}
LARGE_HEADS = {
    "one length again and again": b"Content-Length: 0\r\n",
    "control bytes": b"X: \x01\r\n",
    "folds": b"X: a\r\n b\r\n",
    "bare line feeds": b"X: a\n",
}


@pytest.mark.parametrize("head", SMALL_HEADS.values(), ids=SMALL_HEADS.keys())
def test_a_thousand_loose_heads_cost_what_they_are_long(head: bytes) -> None:
    """What is behind each was once copied with it."""

    def read(count: int) -> None:
        reader = ResponseReader(body_limit=100)
        reader.expect(b"GET")
        (found,) = reader.feed_untrusted(head * count + OK, 0)
        assert found.body == b"hi"

    assert growth(lambda: read(8_000), lambda: read(2_000)) < LINEAR


@pytest.mark.parametrize("line", LARGE_HEADS.values(), ids=LARGE_HEADS.keys())
@pytest.mark.parametrize("kind", ["request", "response"])
def test_a_head_that_must_be_mended_costs_what_it_is_long_however_it_is_cut(kind: str, line: bytes) -> None:
    """A piece once cost a look at all that had come before it."""
    start = b"HTTP/1.1 200 OK\r\n" if kind == "response" else b"POST / HTTP/1.1\r\n"

    def read(size: int) -> None:
        reader: RequestReader | ResponseReader = RequestReader()
        if kind == "response":
            reader = ResponseReader(body_limit=100)
            reader.expect(b"GET")
        data = start + line * (size // len(line))
        for at in range(0, len(data), 10):
            assert not reader.feed_untrusted(data[at : at + 10], 0)

    assert growth(lambda: read(48_000), lambda: read(12_000)) < LINEAR


@pytest.mark.parametrize("chunk", [b"1\n \n", b"1 \n \n", b"1 \r\n \r\n", b"1\t\n \r\n", b"1\r\n \n"])
def test_loose_chunks_cost_not_much_more_than_strict_ones(chunk: bytes) -> None:
    """Chunks of one byte hold a turn the longest; each line was once shown to llhttp by itself, at nine times the
    cost."""
    count = 10_000
    bodies = {kind: kind * count + b"0\r\n\r\n" for kind in (chunk, b"1\r\n \r\n")}
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def read(kind: bytes) -> None:
        reader = ResponseReader(body_limit=1 << 20)
        reader.expect(b"GET")
        (found,) = reader.feed_untrusted(head + bodies[kind], 0)
        assert found.body == b"1\r\n \r\n" * count + b"0\r\n\r\n"
        assert found.loose is (kind == chunk)

    ratios = [cost(lambda: read(chunk)) / cost(lambda: read(b"1\r\n \r\n")) for _ in range(ATTEMPTS)]
    assert min(ratios) < 4, ratios


def test_endless_chunk_lines_and_trailers_are_bounded() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert rejects(RequestReader(), head + b"3;" + b"a" * 5000) == "chunk_too_large"
    trailers = b"".join(b"T%d: v\r\n" % number for number in range(2000))
    assert rejects(RequestReader(max_head=8192), head + b"0\r\n" + trailers) == "chunk_too_large"


def test_requests_before_an_error_come_first() -> None:
    reader = RequestReader()
    (request,) = reader.feed_untrusted(GET + b"garbage\r\n", 0)
    assert request.method == b"GET"
    assert reader.error is not None
    assert reader.boundary == len(GET)
    assert reader.partial_bytes == len(b"garbage\r\n")
    with pytest.raises(ProtocolError):
        reader.feed_untrusted(GET, 0)


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
def test_nothing_follows_the_last_request(head: bytes) -> None:
    for cut in (0, 1):
        (request,) = requests_of(head, cut)
        assert not request.keep_alive
    for more in (GET, b"BREW / HTTP/1.1\r\n\r\n", POST):
        reader = RequestReader()
        reader.feed_untrusted(head, 0)
        assert rejects(reader, more)


def test_keep_alive_by_version_and_options() -> None:
    for fields, version, keep in [
        (b"", b"1.1", True),
        (b"", b"1.0", False),
        (b"Connection: Keep-Alive\r\n", b"1.0", True),
        (b"Connection: keep-alive\r\n", b"1.1", True),
        (b"Connection: foo, Close\r\n", b"1.1", False),
        (b"Connection: foo\r\nConnection: close\r\n", b"1.1", False),
        (b"X: close\r\n", b"1.1", True),
        (b"Connection: x-close\r\n", b"1.1", True),
    ]:
        (request,) = requests_of(b"GET / HTTP/" + version + b"\r\n" + fields + b"\r\n")
        assert request.keep_alive is keep, fields


def test_too_large_body_is_read_to_its_end_and_not_kept() -> None:
    for wire in (POST, CHUNKED):
        for cut in (0, 1, 3):
            first, second = requests_of(wire + GET, cut, max_body=4)
            assert isinstance(first, OversizedRequest)
            assert (first.head, first.body, first.size) == (b"", b"", len(wire))
            assert type(second) is Request
            assert second.begin == len(wire)


def test_too_large_head_is_read_to_its_end_and_not_kept() -> None:
    filler = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 90) for number in range(40))
    for fields, body in [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"", b""),
    ]:
        for wire in (
            b"POST /big HTTP/1.1\r\n" + fields + filler + b"\r\n" + body,
            b"POST /big HTTP/1.1\r\n" + filler + fields + b"\r\n" + body,
            b"POST /" + b"u" * 5000 + b" HTTP/1.1\r\n" + filler + fields + b"\r\n" + body,
            b"POST / HTTP/1.1\r\nX: " + b"u" * 5000 + b"\r\n" + fields + b"\r\n" + body,
        ):
            for cut in (0, 1, 100, 1000):
                first, second = requests_of(wire + GET, cut, max_head=1024)
                assert isinstance(first, OversizedRequest)
                assert (first.method, first.size) == (b"POST", len(wire))
                assert second.head == GET


def test_a_head_without_an_end_stays_bounded() -> None:
    reader = RequestReader(max_head=4096)
    reader.feed_untrusted(b"GET / HTTP/1.1\r\n", 0)
    for number in range(2000):
        assert not reader.feed_untrusted(b"Transfer-Encoding: gzip\r\nX-%d: " % number + b"v" * 500 + b"\r\n", 0)
        assert len(reader._buffer) < 3 * 4096


# --- upgrades ---------------------------------------------------------------------------------------------------------

WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_upgrade_request_stops_the_reader_until_it_is_resumed() -> None:
    reader = RequestReader()
    first, upgrade = reader.feed_untrusted(GET + WEBSOCKET + b"\x81\x05", 0)
    assert (first.upgrade, upgrade.upgrade) == (False, True)
    assert upgrade.head == WEBSOCKET
    assert reader.trailing == b"\x81\x05"
    assert reader.offset == upgrade.end
    assert not reader.feed_untrusted(b"more", 0)
    assert reader.trailing == b"more"
    reader.resume()
    (after,) = reader.feed_untrusted(GET, 0)
    assert after.begin == upgrade.end


def test_connect_and_upgrade_with_a_body() -> None:
    (connect,) = requests_of(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 1)
    assert (connect.method, connect.target, connect.upgrade) == (b"CONNECT", b"h:443", True)
    for body in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
        wire = b"POST / HTTP/1.1\r\nupgrade: h2c\r\nConnection: Upgrade\r\n" + body
        for cut in (0, 1, 60):
            (request,) = requests_of(wire, cut)
            assert request.head + request.body == wire
            assert request.upgrade
    (request,) = requests_of(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n")  # without Connection: Upgrade it asks nothing
    assert not request.upgrade


# --- responses --------------------------------------------------------------------------------------------------------


def test_response_with_length() -> None:
    for cut in (0, 1, 4, 40):
        (response,) = responses_of(OK, b"GET", cut=cut)
        assert (response.status, response.head, response.body) == (200, OK[:-2], b"hi")
        assert (response.body_length, response.begin, response.end) == (2, 0, len(OK))
        assert response.keep_alive
        assert response.first_byte == 0
        assert response.last_byte == (len(OK) - 1) // cut * cut if cut else True


@pytest.mark.parametrize(
    ("wire", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"HEAD"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HEAD"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"HEAD"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"GET"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", b"GET"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", b"GET"),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET"),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"GET"),
        (b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", b"CONNECT"),
    ],
)
def test_responses_without_a_body_leave_the_next_alone(wire: bytes, method: bytes) -> None:
    for cut in (0, 1, 11):
        first, second = responses_of(wire + OK, method, b"GET", cut=cut)
        assert (first.head, first.body, first.body_length) == (wire, b"", 0)
        assert second.body == b"hi"


def test_interim_responses_are_skipped_and_counted() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 102 P\r\n\r\n"
    for cut in (0, 1, 30):
        reader = ResponseReader(10)
        reader.expect(b"POST")
        done: list[Response] = []
        wire = interim + OK
        for at in range(0, len(wire), cut or len(wire)):
            done += reader.feed_untrusted(wire[at : at + (cut or len(wire))], at)
        (response,) = done
        assert (response.status, response.begin) == (200, len(interim))
        assert (reader.interim, reader.interim_bytes) == (3, len(interim))
        if cut == 1:
            assert response.first_byte == len(interim)  # of the final response


def test_chunked_response_keeps_framing_and_counts_all() -> None:
    body = b"5\r\nhello\r\n0\r\nT: v\r\n\r\n"
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n" + body
    for cut in (0, 1, 6):
        first, second = responses_of(wire + OK, b"GET", b"GET", cut=cut)
        assert (first.body, first.body_length) == (body, len(body))
        assert second.status == 200
        (limited, _) = responses_of(wire + OK, b"GET", b"GET", cut=cut, body_limit=4)
        assert (limited.body, limited.body_length) == (body[:4], len(body))


def test_close_delimited_response() -> None:
    for head in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"):
        for cut in (0, 1):
            (response,) = responses_of(head + b"abc\r\n\r\nHTTP/1.1 200 OK", b"GET", cut=cut, eof=True)
            assert response.body == b"abc\r\n\r\nHTTP/1.1 200 OK"
            assert (response.keep_alive, response.end) == (False, len(head) + 22)
    (empty,) = responses_of(b"HTTP/1.0 200 OK\r\n\r\n", b"GET", eof=True)
    assert empty.body_length == 0


def test_eof_in_the_middle_is_truncation() -> None:
    for part in (OK[:5], OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"):
        reader = ResponseReader()
        reader.expect(b"GET")
        assert not reader.feed_untrusted(part, 0)
        with pytest.raises(ProtocolError, match="truncated"):
            reader.eof()
    idle = ResponseReader()
    idle.expect(b"GET")
    assert not idle.eof()


@pytest.mark.parametrize("fields", TOLD_TWICE)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_length_that_is_told_twice_is_one(fields: bytes, step: int) -> None:
    """RFC 9112 §6.3, rule 5; the head stays as it was on the wire."""
    head = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"
    reader = ResponseReader(body_limit=100)
    found = []
    for method in (b"GET", b"HEAD", b"GET"):
        reader.expect(method)
    text = head + b"ok" + head + head + b"ok"
    for start in range(0, len(text), step):
        found += reader.feed_untrusted(text[start : start + step], 1)
    assert [(answer.status, answer.head, answer.body) for answer in found] == [
        (200, head, b"ok"),
        (200, head, b""),
        (200, head, b"ok"),
    ]


@pytest.mark.parametrize("fields", [b"Content-Length: 2, 3", b"Content-Length: 2\r\nContent-Length: 3, 2",
                                    b"Content-Length: 2,", b"Content-Length: 2\r\nContent-Length:",
                                    b"Content-Length: a, a"])  # fmt: skip
@pytest.mark.parametrize("cut", [0, 1])
def test_lengths_that_contradict_each_other_are_malformed(fields: bytes, cut: int) -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    assert rejects(reader, b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nabc", cut) == "malformed"


def test_unsolicited_and_malformed_responses() -> None:
    assert rejects(ResponseReader(), OK) == "unsolicited"
    for wire in (
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"v" * 70000,
    ):
        for cut in (0, 1) if len(wire) < 1000 else (0, 1000):
            reader = ResponseReader()
            reader.expect(b"GET")
            assert rejects(reader, wire, cut)
    reader = ResponseReader()
    reader.expect(b"GET")
    (response,) = reader.feed_untrusted(OK + OK, 0)
    assert response.status == 200
    assert reader.error is not None
    assert reader.error.reason == "unsolicited"
    with pytest.raises(ProtocolError):
        reader.eof()


def test_nothing_follows_a_closing_response() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    reader = ResponseReader()
    reader.expect(b"GET")
    reader.expect(b"GET")
    (response,) = reader.feed_untrusted(closing, 0)
    assert not response.keep_alive
    assert rejects(reader, OK)


@pytest.mark.parametrize(
    ("wire", "method"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"GET"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"GET"),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", b"CONNECT"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"CONNECT"),
    ],
)
def test_upgrade_ends_http(wire: bytes, method: bytes) -> None:
    for cut in (0, 1):
        reader = ResponseReader()
        reader.expect(method)
        done: list[Response] = []
        data = wire + b"\x81\x00"
        for at in range(0, len(data), cut or len(data)):
            done += reader.feed_untrusted(data[at : at + (cut or len(data))], 0)
        (response,) = done
        assert response.head == wire
        assert reader.upgraded
        assert reader.trailing == (b"\x00" if cut else b"\x81\x00")
        assert reader.offset == len(wire)


def test_a_large_response_streams_without_being_kept() -> None:
    reader = ResponseReader(body_limit=100)
    reader.expect(b"GET")
    reader.feed_untrusted(b"HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n", 0)
    done: Sequence[Response] = ()
    for number in range(320):
        assert not done
        done = reader.feed_untrusted(b"z" * 16384, number)
        assert len(reader._body) <= 100
    (response,) = done
    assert (response.body, response.body_length, response.last_byte) == (b"z" * 100, 5242880, 319)


# --- any split --------------------------------------------------------------------------------------------------------

TOKEN = st.sampled_from([b"X-A", b"Accept", b"Cookie", b"x-b"])
VALUE = st.binary(max_size=20).map(lambda raw: bytes(32 + byte % 95 for byte in raw)).map(bytes.strip)
FIELDS = st.lists(st.tuples(TOKEN, VALUE), max_size=4).map(
    lambda pairs: b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
)
PAYLOAD = st.one_of(st.binary(max_size=60), st.just(GET), st.just(OK))


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    wire = b""
    for piece in draw(st.lists(PAYLOAD.filter(bool), max_size=4)):
        wire += b"%x" % len(piece) + draw(st.sampled_from([b"", b";a", b";a=b"])) + b"\r\n" + piece + b"\r\n"
    return wire + b"0\r\n" + draw(FIELDS) + b"\r\n"


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(framing header, body as on the wire)"""
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        payload = draw(PAYLOAD)
        return draw(st.sampled_from([b"Content-Length", b"content-length"])) + b": %d\r\n" % len(payload), payload
    return (b"", b"") if kind == "none" else (b"Transfer-Encoding: chunked\r\n", draw(chunks()))


@st.composite
def request_wires(draw: st.DrawFn) -> bytes:
    framing, body = draw(bodies())
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PURGE", b"BREW"]))
    target = draw(st.sampled_from([b"/", b"/a?b=%20", b"http://h/x", b"/\xc3\xa9"]))
    return method + b" " + target + b" HTTP/1.1\r\n" + draw(FIELDS) + framing + draw(FIELDS) + b"\r\n" + body


@st.composite
def response_wires(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(request method, response as on the wire)"""
    framing, body = draw(bodies())
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST"]))
    status = draw(st.sampled_from([200, 404, 500, 304, 204]))
    if not framing:
        framing = b"Content-Length: 0\r\n"
    if method == b"HEAD" or status in (304, 204):
        body = b""
    return method, b"HTTP/1.1 %d X\r\n" % status + draw(FIELDS) + framing + b"\r\n" + body


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(edges)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(request_wires(), min_size=1, max_size=5), CUTS)
def test_any_split_gives_the_same_requests(wires: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(wires)
    for pieces in ([stream], split(stream, cuts), [stream[at : at + 1] for at in range(len(stream))]):
        reader = RequestReader()
        done = [request for piece in pieces for request in reader.feed_untrusted(piece, 0)]
        assert [request.head + request.body for request in done] == wires
        assert reader.partial_bytes == 0
        assert [request.begin for request in done] == [sum(map(len, wires[:k])) for k in range(len(wires))]


@settings(max_examples=200, deadline=None)
@given(st.lists(response_wires(), min_size=1, max_size=5), CUTS, st.integers(0, 40))
def test_any_split_gives_the_same_responses(wires: list[tuple[bytes, bytes]], cuts: list[int], limit: int) -> None:
    stream = b"".join(wire for _, wire in wires)
    for pieces in ([stream], split(stream, cuts), [stream[at : at + 1] for at in range(len(stream))]):
        reader = ResponseReader(limit)
        for method, _ in wires:
            reader.expect(method)
        done = [response for piece in pieces for response in reader.feed_untrusted(piece, 0)]
        bodies = [wire[wire.find(b"\r\n\r\n") + 4 :] for _, wire in wires]
        assert [response.head for response in done] == [wire[: wire.find(b"\r\n\r\n") + 4] for _, wire in wires]
        assert [response.body for response in done] == [body[:limit] for body in bodies]
        assert [response.body_length for response in done] == list(map(len, bodies))
        assert [response.end - response.begin for response in done] == [len(wire) for _, wire in wires]


FRAGMENT = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [GET, POST, CHUNKED, OK, WEBSOCKET, b"\r\n", b"\n", b"0\r\n\r\n", b"HTTP/1.1 ", b" HTTP/1.1\r\n", b"GET ", b"/"]
    ),
    st.sampled_from([fields + b"\r\n" for fields in SMUGGLING.values()]),
)


def outcome(reader: RequestReader | ResponseReader, pieces: list[bytes]) -> tuple[list[tuple[int, int, bytes]], bool]:
    """(begin, end, head) of what came out, and whether the stream was rejected."""
    done: list[tuple[int, int, bytes]] = []
    for piece in pieces:
        try:
            done += [(message.begin, message.end, message.head) for message in reader.feed_untrusted(piece, 0)]
        except ProtocolError:
            break
    return done, reader.error is not None


@settings(max_examples=400, deadline=None)
@example([b"GET ", b"\x00\x80"], [], 64 << 10, False)  # no byte may hide a control character in the target
@example([b"GET ", b"!\x80"], [5], 64 << 10, False)  # nor one that llhttp rejects before it
@given(st.lists(FRAGMENT, max_size=8), CUTS, st.sampled_from([40, 64 << 10]), st.booleans())
def test_arbitrary_bytes_raise_only_protocol_errors_and_splits_agree(
    fragments: list[bytes], cuts: list[int], max_head: int, responses: bool
) -> None:
    stream = b"".join(fragments)

    def make() -> RequestReader | ResponseReader:
        if not responses:
            return RequestReader(max_head=max_head, max_body=20)
        reader = ResponseReader(max_head=64 << 10)
        for method in (b"GET", b"HEAD", b"POST"):
            reader.expect(method)
        return reader

    whole = outcome(make(), [stream])
    if max_head > 40 or responses:  # how much of an overlong head is kept depends on the split
        assert outcome(make(), split(stream, cuts)) == whole
        assert outcome(make(), [stream[at : at + 1] for at in range(len(stream))]) == whole
    else:
        outcome(make(), split(stream, cuts))


@pytest.mark.parametrize("odd", [b"A: b\x01\r\n", b"A: b\r\n c\r\n"])
def test_a_long_line_beside_one_that_is_mended_costs_what_it_is_long(odd: bytes) -> None:
    """A head of 16 KB held the pump for three seconds, one of 60 KB for forty."""

    def read(length: int) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + odd + b"a" * length + b": b\r\n\r\n"
        (request,) = RequestReader().feed_untrusted(head, 1)
        assert len(request.head) == len(head)

    assert growth(lambda: [read(8_000) for _ in range(40)], lambda: [read(2_000) for _ in range(40)]) < LINEAR
