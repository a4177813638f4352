"""What reads bytes of strangers, each as a function of bytes that may raise nothing.

A parser's own error is an answer; whatever else comes out is a finding. ``make fuzz`` gives them to libFuzzer
(atheris), ``test_targets.py`` gives them seeds that are damaged at random. The first bytes of the data choose variants,
so that one target reaches all ways of one parser.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shadowd.capture.frames import FrameReader
from shadowd.capture.tlslibs import LibraryError
from shadowd.capture.tlslibs import find_untrusted as find_key_log_untrusted
from shadowd.compare.answers import compare_answers
from shadowd.compare.context import Context
from shadowd.compare.difference import Options
from shadowd.control.wire import FrameDecoder, WireError
from shadowd.evidence.carrying import from_bytes_untrusted, to_bytes
from shadowd.evidence.conditions import MergeError, conditions_of
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.examining import Examining
from shadowd.evidence.gathering import gather
from shadowd.evidence.merging import EMPTY, EVIDENCE, merge
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.judge.merged import assess_untrusted
from shadowd.ledger.budget import Budget
from shadowd.protocols.detect import identify, tls_start
from shadowd.protocols.http1_framing import ProtocolError
from shadowd.protocols.http1_reader import RequestReader
from shadowd.protocols.http1_response import ResponseReader
from shadowd.protocols.llm import Ask, LlmError, Reader
from shadowd.protocols.proxy import ProxyError
from shadowd.protocols.proxy import parse_untrusted as parse_proxy_untrusted
from shadowd.runs.exposition import ExpositionError, parse_untrusted
from shadowd.stream.flow import Flow
from shadowd.tls.keyring import LABELS, KeyLines, Keyring
from shadowd.tls.opening import TlsOpening
from shadowd.tls.schedule import expand_label
from shadowd.tls.session import PATIENCE, PlainSink
from shadowd.worker.comparer import ReplyError, replied_untrusted
from tests import elf_sample
from tests.fuzz import http2, websocket

Target = Callable[[bytes], None]

KINDS = (
    b"application/json", b"text/plain", b"text/html", b"application/xml", b"text/event-stream", b"text/csv",
    b"application/x-ndjson", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x",
    b"application/octet-stream", b"application/graphql-response+json", b"application/grpc-web+proto",
    b'text/html; charset="utf-7"', b"",
)  # fmt: skip
CODINGS = (b"", b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip")
APIS = ("chat", "responses", "anthropic", "gemini", "ollama")


def pieces(data: bytes) -> list[bytes]:
    """Cut where the data itself says."""
    step = 1 + data[-1] % 97 if data else 1
    return [data[at : at + step] for at in range(0, len(data), step)]


def requests(data: bytes) -> None:
    reader = RequestReader()
    with contextlib.suppress(ProtocolError):
        for piece in pieces(data):
            reader.feed_untrusted(piece, 1)


def responses(data: bytes) -> None:
    reader = ResponseReader(body_limit=4096)
    for method in (b"GET", b"HEAD", b"POST", b"CONNECT"):
        reader.expect(method)
    with contextlib.suppress(ProtocolError):
        for piece in pieces(data):
            reader.feed_untrusted(piece, 1)
        reader.take_so_far()
        reader.eof()


def model_answers(data: bytes) -> None:
    choice = data[0] if data else 0
    ask = Ask(APIS[choice % len(APIS)], "m", "", {}, None, bool(choice & 64))
    reader = Reader(ask, (KINDS[choice % len(KINDS)]).decode(), 200)
    with contextlib.suppress(LlmError):
        for piece in pieces(data[1:]):
            reader.feed_untrusted(piece, 1)
    reader.finish(bool(choice & 128))


def answer(head: bytes, body: bytes, status: int) -> Response:
    made = Response(status, b"HTTP/1.1 %d X\r\n%b\r\n" % (status, head) if status else b"", 0, 1)
    made.body, made.body_length = body, len(body)
    made.end, made.last_byte = len(head) + len(body), 2
    return made


def pair(data: bytes) -> tuple[Response, Response]:
    """Two answers in one: media type and coding by the first bytes, the rest cut in two."""
    kind, coding, cut = (*data[:3], 0, 0, 0)[:3]
    rest = data[3:]
    at = len(rest) * cut // 255
    head = b"Content-Type: %b\r\n" % KINDS[kind % len(KINDS)] if KINDS[kind % len(KINDS)] else b""
    if CODINGS[coding % len(CODINGS)]:
        head += b"Content-Encoding: %b\r\n" % CODINGS[coding % len(CODINGS)]
    status = (200, 200, 500, 404, 0)[kind % 5]
    return answer(head, rest[:at], status), answer(head, rest[at:], status)


def answers(data: bytes) -> None:
    ours, theirs = pair(data)
    compare_answers(ours, theirs, Options(), Context(b"", 1, 2, b"prod:1", b"shadow:2", True))


def exchanges(data: bytes) -> None:
    """All of what examining does, several times, so that what is learned is asked for too."""
    examining = Examining(Budget(), time.monotonic_ns)
    examiner = Examiner(Settings(twin=0.5), Rules())
    ours, theirs = pair(data)
    method = (b"GET", b"POST")[len(data) % 2]
    body = data[3:200] if data[:1] > b"\x80" else b'{"model":"m","stream":true,"messages":[],"query":"query Q { a }"}'
    head = method + b" /v1/chat/completions?a=%b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
    for number in range(3):
        request = Request(method, b"/v1/chat/completions", head % str(number).encode(), body, 0, 99, 1, 1)
        examining.note_write(examiner, request)
        exchange = Exchange(number, request, 0)
        exchange.answered, exchange.response = True, answer(ours.head[15:-2], ours.body, ours.status)
        side = Side()
        side.response = answer(theirs.head[15:-2], theirs.body, theirs.status)
        side.first_byte = side.last_byte = 1000
        trial = Trial(examiner, exchange, side, None)
        trial.twin = side if number else None
        examining.note_written(examiner, exchange)
        examining.take(trial)
    if examining.failed:
        raise AssertionError(dict(examining.failed))


def frames(data: bytes) -> None:
    reader = FrameReader()
    for number, frame in enumerate(data.split(b"\xff\xfe\xfd")):
        reader.segments_untrusted((1, 101, 113, 276, 12, 0)[number % 6], frame, number)


def control(data: bytes) -> None:
    decoder = FrameDecoder()
    with contextlib.suppress(WireError):
        for piece in pieces(data):
            decoder.feed_untrusted(piece)


def openings(data: bytes) -> None:
    identify(data)
    with contextlib.suppress(ProxyError):
        parse_proxy_untrusted(data)


def metrics(data: bytes) -> None:
    with contextlib.suppress(ExpositionError):
        parse_untrusted(data, "requests_total")


def comparer(data: bytes) -> None:
    with contextlib.suppress(ReplyError):
        replied_untrusted(data, 1)


def libraries(data: bytes) -> None:
    with contextlib.suppress(LibraryError):
        find_key_log_untrusted(data)


def evidence(data: bytes) -> None:
    """Of another node: what is no error is judged, by itself and with another's."""
    with contextlib.suppress(MergeError):
        value = from_bytes_untrusted(to_bytes(EMPTY).partition(b"\n")[0] + b"\n" + zlib.compress(data, 1))
        assess_untrusted(value)
        assess_untrusted(merge(value, OTHER))


def _value(node: str, status: int) -> Mapping[str, Any]:
    """Of a node that saw one exchange."""
    examiner = Examiner(Settings(min_span=1.0), Rules())
    exchange = Exchange(0, Request(b"GET", b"/a", b"GET /a HTTP/1.1\r\n\r\n", b"", 0, 18, 10**9, 10**9), 0)
    exchange.response, exchange.answered = _answer(200, b"{}"), True
    candidate = Side()
    candidate.response, candidate.first_byte, candidate.last_byte = _answer(status, b'{"a":1}'), 10**6, 10**6
    examiner.examine(Trial(examiner, exchange, candidate, None))
    part = {
        "node": node, "began": 1.0, "seconds": 2.0, "eligible": 1, "notes": (), "unseen": "", "memory": None,
        "production": None, "cpu": None,
    }  # fmt: skip
    return gather(examiner, conditions_of(examiner.settings, examiner.rules, "a", "http://b", ""), {node: part})


def _answer(status: int, body: bytes) -> Response:
    response = Response(status, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", 0, 2 * 10**9)
    response.body, response.body_length, response.last_byte = body, len(body), 2 * 10**9
    return response


OTHER = _value("other", 200)


class _Read(PlainSink):
    """Keeps what was read."""

    plain = b""

    def sealed(self, view: object) -> None: ...

    def data(self, direction: int, data: bytes, time: int) -> None:
        self.plain += data


class _Told(_Read):
    """By direction."""

    def __init__(self) -> None:
        self.of = [b"", b""]
        self.accounted = 0

    def data(self, direction: int, data: bytes, time: int) -> None:
        self.of[direction] += data
        self.accounted += len(data)

    def dropped(self, reason: str, length: int) -> None:
        self.accounted += length


TLS_RANDOM, TLS_SECRET = bytes(range(32)), bytes(range(48))


def handshake_record(kind: int, body: bytes) -> bytes:
    message = bytes([kind]) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def tls(data: bytes) -> None:
    """Hellos that are whole, if the first byte does not say otherwise; then the data, as both directions, with gaps,
    and as a key log. The keys are known: what does not open is tried, and nothing may come of it."""
    choice = data[0] if data else 0
    keyring = Keyring(whole=bool(choice & 1))
    lines = KeyLines(keyring)
    for piece in pieces(data):
        lines.feed_untrusted(piece, 0)
    for label in LABELS:
        keyring.add(TLS_RANDOM, label, TLS_SECRET, 0)
    flow, read = Flow(False), _Read()
    flow.sink = TlsOpening(flow, keyring, read, tls_start)
    if not choice & 8:
        modern, early = bool(choice & 2), b"\x00\x04\x00\x2a\x00\x00" if choice & 4 else b"\x00\x00"
        hello = b"\x03\x03" + TLS_RANDOM + b"\x00\x00\x02\x13\x02\x01\x00" + early
        flow.sink.data(0, handshake_record(1, hello), 1)
        suite = b"\x13\x02\x00\x00\x06\x00\x2b\x00\x02\x03\x04" if modern else b"\xc0\x30\x00"
        if not choice & 16:
            flow.sink.data(1, handshake_record(2, b"\x03\x03" + TLS_RANDOM + b"\x00" + suite), 1)
    for number, piece in enumerate(pieces(data[1:])):
        flow.sink.data(number & 1, piece, number)
        if piece[0] == 7:
            flow.sink.gap(number & 1, 1 + len(piece), number)
    keyring.settle(1, 1)
    keyring.settle(1 << 40, 1)
    flow.sink.eof(0, 9)
    flow.sink.closed("closed", 9)
    if not choice & 8 and read.plain:
        raise AssertionError("plaintext of what nobody encrypted")


class _Sealer:
    """Encrypts one direction as TLS 1.3 does, with keys that follow what it sends."""

    def __init__(self) -> None:
        self.secret = TLS_SECRET
        self.number = 0

    def seal(self, kind: int, content: bytes) -> bytes:
        key, iv = (expand_label(self.secret, label, size, "sha384") for label, size in ((b"key", 32), (b"iv", 12)))
        nonce = iv[:4] + (int.from_bytes(iv[4:], "big") ^ self.number).to_bytes(8, "big")
        head = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2, "big")
        self.number += 1
        if kind == 22 and content[:1] == b"\x14":  # Finished: all secrets of this connection are the same
            self.number = 0
        if kind == 22 and content[:1] == b"\x18":  # KeyUpdate
            self.number, self.secret = 0, expand_label(self.secret, b"traffic upd", 48, "sha384")
        return head + AESGCM(key).encrypt(nonce, content + bytes([kind]), head)


#: Handshake messages and alerts that change something, and some that do not.
_CONTENTS = (
    b"\x08\0\0\x02\0\0", b"\x08\0\0\x06\0\x04\0\x2a\0\0", b"\x0d\0\0\x03\0\0\0", b"\x0b\0\0\x04\0\0\0\0",
    b"\x14\0\0\x02ab", b"\x18\0\0\x01\0", b"\x04\0\0\x01a", b"\x05\0\0\0", b"\x01\0\0\x01a",
    b"\x14\0\0\x02ab\x18\0\0\x01\0",
)  # fmt: skip


def tls_sealed(data: bytes) -> None:
    """Two bytes a step: records of one direction or the other under the right keys, whole, lost or cut, and keys that
    are told late. What comes out is a part of what was said, in its order, and every byte has its place."""
    choice = data[0] if data else 0
    keyring = Keyring()
    flow, read = Flow(False), _Told()
    budget = Budget(1 << 20)
    flow.sink = TlsOpening(flow, keyring, read, tls_start, budget=budget)
    given = 0
    early = b"\x00\x04\x00\x2a\x00\x00" if choice & 1 else b"\x00\x00"
    hello = handshake_record(1, b"\x03\x03" + TLS_RANDOM + b"\x00\x00\x02\x13\x02\x01\x00" + early)
    answer = handshake_record(2, b"\x03\x03" + TLS_RANDOM + b"\x00\x13\x02\x00\x00\x06\x00\x2b\x00\x02\x03\x04")
    labels = sorted(LABELS)
    if choice & 2:
        for label in labels:
            keyring.add(TLS_RANDOM, label, TLS_SECRET, 0)
    for direction, record in ((0, hello), (1, answer)):
        flow.sink.data(direction, record, 1)
        given += len(record)
    sealers, said = (_Sealer(), _Sealer()), [b"", b""]
    for now, (what, how) in enumerate(zip(data[1::2], data[2::2], strict=False), 2):
        direction = what & 1
        if what >= 0xF0:
            keyring.add(TLS_RANDOM, labels[how % len(labels)], TLS_SECRET, now)
            keyring.settle(now << (how >> 3), PATIENCE)
            continue
        if what & 2:
            content = bytes([65 + len(said[direction]) % 26]) * (1 + how)
            said[direction] += content
            record = sealers[direction].seal(23, content)
        elif what & 4:
            record = sealers[direction].seal(21, bytes([1 + (how & 1), how >> 1]))
        else:
            record = sealers[direction].seal(22, _CONTENTS[how % len(_CONTENTS)])
        lost = len(record) if what & 24 == 24 else 5 if what & 24 == 16 else 0
        if lost:
            flow.sink.gap(direction, lost, now)
        if record[lost:]:
            flow.sink.data(direction, record[lost:], now)
            given += len(record) - lost
    if flow.sink is not read:
        flow.sink.closed("closed", 1 << 30)
        keyring.settle(1 << 50, PATIENCE)
        keyring.settle(1 << 51, PATIENCE)
    if read.accounted != given or budget.used or keyring.held or len(keyring) > 1 or list(keyring.waiting):
        raise AssertionError("bytes without a place, or something is held for ever")
    for direction in (0, 1):
        rest = iter(said[direction])
        if not all(byte in rest for byte in read.of[direction]):
            raise AssertionError("plaintext that nobody said")


TARGETS: dict[str, Target] = {
    "requests": requests,
    "responses": responses,
    "model_answers": model_answers,
    "answers": answers,
    "exchanges": exchanges,
    "frames": frames,
    "control": control,
    "openings": openings,
    "metrics": metrics,
    "comparer": comparer,
    "libraries": libraries,
    "evidence": evidence,
    "tls": tls,
    "tls_sealed": tls_sealed,
    **http2.TARGETS,
    **websocket.TARGETS,
}

#: What a fuzzer begins with: a whole one of each kind.
SEEDS: dict[str, list[bytes]] = {
    "tls_sealed": [
        bytes([choice]) + b"".join(map(bytes, [
            *(((3, 9),) if choice & 1 else ()), (1, choice & 1), *(((1, 2),) if choice & 4 else ()), (1, 3), (1, 4),
            (0, 4), (2, 5), *((0xF0, number) for number in range(6)), (3, 200), (1, 6), (18, 7), (2, 5), (27, 9),
            (3, 7), (1, 5), (3, 4), (5, 0),
        ])) for choice in range(8)
    ],
    "tls": [
        *(bytes([choice]) + b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x20" + bytes(32) for choice in range(32)),
        *(bytes([choice]) + b"\x16\x03\x03\x00\x04\x0e\0\0\0\x07\x17\x03\x03\x00\x11" + bytes(99) for choice in (0, 2)),
        b"\x01CLIENT_RANDOM " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n# comment\n",
    ],
    "requests": [
        b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        b"GET http://h:1/a HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
    ],
    "responses": [
        b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n",
    ],
    "model_answers": [
        bytes([number]) + b'data: {"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"x",'
        b'"function":{"name":"f","arguments":"{}"}}]}}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
        for number in (0, 4, 64, 132)
    ] + [
        b"\x02event: content_block_delta\ndata: "
        b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}\n\n',
        b"\x41data: "
        b'{"type":"response.function_call_arguments.delta","output_index":0,"item_id":"i","delta":"x"}\n\n',
        b'\x43[{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}]',
    ],
    "answers": [
        bytes([kind, 0, 128]) + body + body
        for kind, body in enumerate(
            (
                b'{"a":[1,2,{"id":"x"}],"b":"2026-01-01T00:00:00Z"}', b"a b c\nd e\n", b"<html><p class=a>b<p>c</html>",
                b"<a x='1'><b/>t</a>", b"event: e\ndata: {\"a\":1}\n\n", b"a,b\n1,2\n", b'{"a":1}\n{"a":2}\n',
                b"a=1&b=2",
                b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n', b"\x00\x01\x02",
                b'{"errors":[{"message":"m","path":["a"]}],"data":null}', b"\x80\x00\x00\x00\x10grpc-status: 3\r\n",
            )
        )
    ] + [b"\x04\x00\x80*2\r\n$1\r\na\r\n:1\r\n-ERR x\r\n"],
    "frames": [
        bytes(12) + b"\x08\x00E\x00\x00(" + bytes(4) + b"@\x06" + bytes(10) + b"\x00P\x00Q" + bytes(8) + b"P\x02"
    ],
    "control": [b"\x00\x00\x00\x07\x83\xa2id\x01\xa2op\xa1x"],
    "openings": [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12), b"\x16\x03\x01",
    ],
    "metrics": [b'# TYPE a counter\na{b="c",d="e\\n"} 1.5 123\nrequests_total{x="1"} 2e3\n'],
    "comparer": [b"\x91\x92\x00\x91\x95\xa4body\xa1p\xa5value\xa11\xa12"],
    "libraries": [elf_sample.library(), elf_sample.library(kind=b"crypto/tls.(*Config).writeKeyLog\0")],
}  # fmt: skip
SEEDS["exchanges"] = SEEDS["answers"]
SEEDS.update(http2.SEEDS)
SEEDS.update(websocket.SEEDS)
SEEDS["evidence"] = [msgpack.packb(EVIDENCE.write(_value("one", status)), use_bin_type=True) for status in (200, 500)]
