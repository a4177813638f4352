"""Real handshakes of OpenSSL through a flow table and a session: the plaintext is what was said, nothing else ever."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.ledger.budget import Budget
from shadowd.stream.flow import CLIENT, SERVER
from shadowd.tls.connection import ADMISSION, Connection
from shadowd.tls.keyring import KeyLines, Keyring
from shadowd.tls.records import MAX_RECORD
from shadowd.tls.records import TRANSITIONS as DIRECTIONS
from shadowd.tls.schedule import RecordError
from shadowd.tls.session import HOLD_BYTES, PATIENCE, TRANSITIONS, TlsSession
from tests.unit.certificates import Certificate
from tests.unit.tls.handshakes import TLS12, TLS13, Contexts, Talk, Tap, cut, joined, keyring_of

Make = Callable[..., Contexts]
SIZES = [1, 2, 17, 300, 16384, 16385, 70000]


@pytest.fixture(scope="module")
def make(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Make:
    def go(version: ssl.TLSVersion = TLS13, ciphers: str = "", **given: object) -> Contexts:
        return Contexts(certificate, tmp_path_factory.mktemp("keys"), version, ciphers, **given)  # type: ignore[arg-type]

    return go


def sizes(talk: Talk, sizes: list[int] = SIZES) -> Talk:
    for number, size in enumerate(sizes):
        talk.say(CLIENT, bytes([65 + number]) * size)
        talk.say(SERVER, bytes([97 + number]) * (size + 1))
    return talk


def read(talk: Talk, log: bytes, *steps: int, whole: bool = True) -> Tap:
    tap = Tap(keyring_of(log, whole))
    tap.send(cut(talk.segments, steps or (1460,)))
    return tap


def check_all(tap: Tap, talk: Talk) -> None:
    tap.check()
    assert tap.reader.plain == talk.said
    assert tap.reader.order == joined(talk.turns)
    assert not tap.reader.reasons
    assert set(tap.reader.dropped_bytes) == {"tls_framing"}


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (TLS13, ""),
        (TLS12, "ECDHE+AESGCM"),
        (TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (TLS12, "ECDHE-ECDSA-CHACHA20-POLY1305"),
        (TLS12, "ECDHE-ECDSA-AES128-CCM"),
        (TLS12, "ECDHE-ECDSA-AES256-CCM8"),
    ],
)
def test_what_was_said_in_many_sizes(make: Make, version: ssl.TLSVersion, ciphers: str) -> None:
    contexts = make(version, ciphers)
    talk = sizes(Talk(contexts).shake())
    for steps in ((1460,), (1,), (5, 1, 40000), (1 << 20,)):
        check_all(read(talk, contexts.keys(), *steps), talk)


def test_chacha_and_a_long_hash_of_tls_1_3(make: Make) -> None:
    """Each suite that OpenSSL has for 1.3, by what the server prefers."""
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [100])
    assert talk.client.cipher()[0] == "TLS_AES_256_GCM_SHA384"
    check_all(read(talk, contexts.keys()), talk)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_resumption(make: Make, version: ssl.TLSVersion) -> None:
    contexts = make(version)
    first = sizes(Talk(contexts).shake(), [10])
    again = sizes(Talk(contexts, first.client.session).shake(), [11, 200])
    assert again.client.session_reused
    for talk in (first, again):
        check_all(read(talk, contexts.keys()), talk)


def test_a_hello_retry_request(make: Make) -> None:
    contexts = make(setup=lambda client, server: server.set_ecdh_curve("secp384r1"))
    talk = sizes(Talk(contexts).shake(), [10, 1000])
    hellos = [data for direction, data in talk.segments if direction == CLIENT and data[:1] == b"\x16"]
    assert len(hellos) >= 1
    assert sum(data.count(b"\x16\x03") for _, data in talk.segments) >= 4  # two ClientHellos, two answers
    check_all(read(talk, contexts.keys(), 100), talk)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_close_notify_ends_nothing_of_ours(make: Make, version: ssl.TLSVersion) -> None:
    contexts = make(version)
    talk = sizes(Talk(contexts).shake(), [10]).close()
    tap = read(talk, contexts.keys()).finish()
    check_all(tap, talk)
    assert tap.reader.ended == ["client_eof", "server_eof", "closed"]
    assert not len(tap.keyring)


@pytest.mark.parametrize(("alert", "read"), [(b"\1\0", b""), (b"\2\x28", b""), (b"\1\x5a", b"more")])
def test_what_follows_the_end_is_nobodys(alert: bytes, read: bytes) -> None:
    """close_notify and fatal alerts end a direction (RFC 8446 §6.1); production reads no further."""
    connection = Connection(Keyring(), cast("TlsSession", None))
    half = connection.client
    half.state = "application"
    assert connection.take(half, 23, b"before") == b"before"
    assert connection.take(half, 21, alert) == b""
    assert connection.take(half, 23, b"more") == read


def test_a_key_update_is_the_last_of_its_record() -> None:
    """RFC 8446 §5.1. A record of nothing else would have 4,095 keys derived."""
    connection = Connection(Keyring(), cast("TlsSession", None))
    connection.version = 0x0304
    with pytest.raises(RecordError):
        connection.take(connection.client, 22, b"\x18\0\0\1\0" * 2)


def test_a_handshake_that_fails_is_nobody_s_loss(make: Make) -> None:
    contexts = make()
    contexts.client.minimum_version = contexts.client.maximum_version = TLS12
    talk = Talk(contexts)
    with pytest.raises(ssl.SSLError):
        talk.shake()
    talk._flush()
    assert [direction for direction, _ in talk.segments] == [CLIENT, SERVER]
    tap = read(talk, b"").finish()
    tap.check()
    assert tap.reader.plain == [b"", b""]
    assert not tap.reader.reasons


def test_mutual_tls(make: Make, certificate: Certificate) -> None:
    def both(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(certificate.chain)
        client.load_cert_chain(certificate.chain, certificate.key)

    for version in (TLS12, TLS13):
        contexts = make(version, setup=both)
        talk = sizes(Talk(contexts).shake(), [10])
        check_all(read(talk, contexts.keys()), talk)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.integers(1, 3000), min_size=1, max_size=20), version=st.sampled_from([TLS12, TLS13]))
def test_any_split_gives_the_same_plaintext(make: Make, steps: list[int], version: ssl.TLSVersion) -> None:
    contexts, talk = once(make, version)
    check_all(read(talk, contexts.keys(), *steps), talk)


_ONCE: dict[ssl.TLSVersion, tuple[Contexts, Talk]] = {}


def once(make: Make, version: ssl.TLSVersion) -> tuple[Contexts, Talk]:
    if version not in _ONCE:
        contexts = make(version)
        _ONCE[version] = contexts, sizes(Talk(contexts).shake(), [1, 200, 3000, 20000, 5])
    return _ONCE[version]


# --- acknowledgement, order and waiting -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_what_the_client_has_acknowledged_is_told_in_plaintext(make: Make, version: ssl.TLSVersion) -> None:
    contexts = make(version)
    talk = Talk(contexts).shake()
    for _ in range(3):
        talk.say(CLIENT, b"ask").say(SERVER, b"answer")
    tap = read(talk, contexts.keys())
    assert tap.reader.acked == [0, 6, 12]


def test_what_was_sent_before_an_answer_came_was_not_asked_after_it(make: Make) -> None:
    """Pipelined: the second request's segment acknowledges nothing of the first answer."""
    contexts = make()
    talk = Talk(contexts).shake()
    before = len(talk.segments)
    talk.say(CLIENT, b"one").say(CLIENT, b"two").say(SERVER, b"answer").say(CLIENT, b"three")
    shake, rest = talk.segments[:before], talk.segments[before:]
    for late in (False, True):
        keyring = keyring_of(b"" if late else contexts.keys(), whole=False)
        tap = Tap(keyring).send(shake).send(rest)
        if late:
            assert tap.reader.plain == [b"", b""]
            KeyLines(keyring).feed_untrusted(contexts.keys(), 0)
            keyring.settle(tap.now, PATIENCE)
        check_all(tap, talk)
        assert tap.reader.acked == [0, 0, 6] if late else [0, 6]


def labelled(log: bytes, *labels: bytes) -> bytes:
    return b"".join(line + b"\n" for line in log.split(b"\n") if line.startswith(labels))


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_keys_may_come_late_and_one_by_one(make: Make, version: ssl.TLSVersion) -> None:
    contexts = make(version)
    talk = sizes(Talk(contexts).shake(), [1, 200, 3000])
    keyring = Keyring()
    tap = Tap(keyring).send(cut(talk.segments, [700]))
    lines = [line + b"\n" for line in contexts.keys().split(b"\n") if line]
    for line in reversed(lines):
        tap.check()
        KeyLines(keyring).feed_untrusted(line, 0)
        keyring.settle(tap.now, PATIENCE)
    check_all(tap, talk)
    tap.finish()
    assert tap.reader.ended[-1] == "closed"
    assert not len(keyring)


def test_answers_never_come_before_what_they_answer(make: Make) -> None:
    """The client's traffic key comes last: everything waits for it, and goes on in the order of the capture."""
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10, 20])
    log = contexts.keys()
    keyring = keyring_of(log.replace(b"CLIENT_TRAFFIC", b"X_TRAFFIC"), whole=False)
    tap = Tap(keyring).send(talk.segments)
    tap.check()
    assert tap.reader.plain == [b"", b""]
    KeyLines(keyring).feed_untrusted(labelled(log, b"CLIENT_TRAFFIC"), 0)
    keyring.settle(tap.now, PATIENCE)
    check_all(tap, talk)


def test_who_ends_before_the_key_comes_is_read_all_the_same(make: Make) -> None:
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10])
    keyring = Keyring()
    tap = Tap(keyring).send(talk.segments).finish()
    assert not tap.reader.ended
    KeyLines(keyring).feed_untrusted(contexts.keys(), 0)
    keyring.settle(tap.now, PATIENCE)
    check_all(tap, talk)
    assert tap.reader.ended == ["client_eof", "server_eof", "closed"]
    assert not len(keyring)
    assert not list(keyring.waiting)


def test_no_key_within_patience(make: Make) -> None:
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10])
    keyring = Keyring()
    tap = Tap(keyring).send(talk.segments)
    keyring.settle(tap.now + PATIENCE - 1_000_000_0, PATIENCE)
    assert not tap.reader.reasons
    keyring.settle(tap.now + PATIENCE, PATIENCE)
    assert tap.reader.reasons == ["tls_no_key"]
    tap.check()
    assert tap.pending == 0
    KeyLines(keyring).feed_untrusted(contexts.keys(), 0)  # too late
    keyring.settle(tap.now, PATIENCE)
    tap.send([(CLIENT, b"x" * 100)]).finish()
    tap.check()
    assert tap.reader.plain == [b"", b""]
    assert tap.reader.ended == ["client_eof", "server_eof", "closed"]
    assert tap.reader.dropped_bytes["tls_no_key"] > 1000


def test_no_more_is_held_than_may_be(make: Make) -> None:
    contexts = make()
    talk = Talk(contexts).shake().say(CLIENT, b"a" * HOLD_BYTES * 2)
    budget = Budget(1 << 30)
    keyring = Keyring()
    tap = Tap(keyring, budget=budget)
    for direction, data in cut(talk.segments, [1460]):
        tap.segment(direction, data)
        tap._next[direction] += len(data)
        assert tap.pending <= HOLD_BYTES + 2 * MAX_RECORD
        assert budget.used >= tap.pending
    assert tap.reader.reasons == ["tls_no_key"]
    assert budget.used == 0
    assert keyring.held == 0
    tap.check()


def test_all_together_hold_no_more_than_may_be(make: Make) -> None:
    """Connections without keys: the one that would hold more is given up, the others wait on."""
    contexts = make()
    talks = [Talk(contexts).shake().say(CLIENT, b"a" * 50_000) for _ in range(4)]
    keyring = Keyring()
    keyring.hold_limit = 120_000
    taps = [Tap(keyring).send(talk.segments) for talk in talks]
    assert [tap.reader.reasons for tap in taps] == [[], [], ["tls_no_key"], ["tls_no_key"]]
    assert 100_000 < keyring.held <= 120_000
    KeyLines(keyring).feed_untrusted(contexts.keys(), 0)
    keyring.settle(taps[0].now, PATIENCE)
    assert [tap.reader.plain == talk.said for tap, talk in zip(taps, talks, strict=True)] == [True, True, False, False]
    assert keyring.held == 0


def test_the_source_is_asked_before_anything_is_given_up(make: Make) -> None:
    """A file that nobody has looked into yet."""
    contexts = make()
    talk = Talk(contexts).shake().say(CLIENT, b"a" * HOLD_BYTES * 2).say(SERVER, b"b")
    keyring = Keyring()
    asked = []

    def refresh() -> None:
        asked.append(1)
        KeyLines(keyring).feed_untrusted(contexts.keys(), 0)

    keyring.refresh = refresh
    tap = Tap(keyring).send(cut(talk.segments, [1460]))
    check_all(tap, talk)
    assert len(asked) == 1


def test_memory_that_is_exhausted(make: Make) -> None:
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10])
    tap = Tap(Keyring(), budget=Budget(1000)).send(cut(talk.segments, [500]))
    assert tap.reader.reasons == ["memory"]
    tap.check()


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_suites_that_are_not_read(make: Make) -> None:
    for version, ciphers in ((TLS12, "ECDHE-ECDSA-AES128-SHA256"), (TLS12, "ECDHE-ECDSA-AES256-SHA")):
        contexts = make(version, ciphers)
        talk = sizes(Talk(contexts).shake(), [10])
        tap = read(talk, contexts.keys())
        assert tap.reader.reasons == ["tls_suite"]
        assert tap.reader.plain == [b"", b""]
        tap.check()


def test_keys_that_lie(make: Make) -> None:
    for version in (TLS12, TLS13):
        contexts = make(version)
        talk = sizes(Talk(contexts).shake(), [10])
        lines = [line.split(b" ") for line in contexts.keys().split(b"\n") if line[:1] not in (b"", b"#")]
        wrong = b"".join(b"%b %b %b\n" % (label, random, b"ab" * (len(secret) // 2)) for label, random, secret in lines)
        tap = read(talk, wrong)
        assert tap.reader.reasons == ["tls_undecryptable"]
        assert tap.reader.plain == [b"", b""]
        tap.check()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([TLS12, TLS13]))
def test_a_flipped_bit_never_gives_plaintext(make: Make, data: st.DataObject, version: ssl.TLSVersion) -> None:
    """What comes is a beginning of what was said; after the flaw nothing does."""
    contexts, talk = once(make, version)
    whole = [bytearray(piece) for _, piece in talk.segments]
    number = data.draw(st.integers(0, len(whole) - 1))
    at = data.draw(st.integers(0, len(whole[number]) - 1))
    whole[number][at] ^= 1 << data.draw(st.integers(0, 7))
    tap = Tap(keyring_of(contexts.keys()))
    tap.send([(direction, bytes(piece)) for (direction, _), piece in zip(talk.segments, whole, strict=True)])
    tap.finish()
    tap.check()
    if tap.reader.view is None:  # it does not begin as TLS any more
        assert number == 0
        assert at < 6
        assert tap.reader.plain[CLIENT].startswith(whole[0])
        return
    for direction in (CLIENT, SERVER):
        assert talk.said[direction].startswith(tap.reader.plain[direction])
    shake = next(i for i, (_, piece) in enumerate(talk.segments) if (i and piece[:1] == b"\x17") or i > 3)
    if number > shake + 2:
        assert tap.reader.plain != talk.said
        assert tap.reader.reasons == ["tls_undecryptable"] or "truncated" in tap.reader.dropped_bytes


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.binary(min_size=1, max_size=400)), max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_random_bytes_never_raise(pieces: list[tuple[int, bytes]], midstream: bool, hello: bool) -> None:
    tap = Tap(Keyring(), midstream=midstream)
    if hello:
        tap.send([(CLIENT, b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03" + bytes(39))])
    tap.send(pieces).finish()
    if tap.table.statistics().opened:
        tap.check()
    assert set(tap.reader.reasons) <= {"tls_no_key", "tls_midstream", "tls_undecryptable", "tls_suite"}


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_connection_that_is_older_than_we(make: Make, version: ssl.TLSVersion) -> None:
    contexts, talk = once(make, version)
    tap = Tap(keyring_of(contexts.keys()), midstream=True)
    tap.send(talk.segments[-4:]).finish()
    tap.check()
    assert tap.reader.reasons == ["tls_midstream"]
    assert tap.reader.plain == [b"", b""]


def test_what_is_no_tls_is_left_alone() -> None:
    for midstream in (False, True):
        tap = Tap(Keyring(), midstream=midstream).send(
            [(CLIENT, b"G"), (CLIENT, b"ET / HTTP/1.1\r\n\r\n"), (SERVER, b"HTTP")]
        )
        tap.check()
        assert tap.reader.plain == [b"GET / HTTP/1.1\r\n\r\n", b"HTTP"]
        assert tap.flow.sink is tap.reader
        assert tap.reader.view is None
        assert not tap.reader.reasons


def test_a_server_that_speaks_first() -> None:
    tap = Tap(Keyring()).send([(SERVER, b"220 mail"), (CLIENT, b"EHLO")])
    assert tap.flow.sink is tap.reader
    assert tap.reader.plain == [b"EHLO", b"220 mail"]


def test_a_preamble_goes_on_as_it_is(make: Make) -> None:
    """A PROXY header stands before TLS."""
    contexts = make()
    talk = Talk(contexts).shake().say(CLIENT, b"one").say(SERVER, b"answer").say(CLIENT, b"two")
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    tap = Tap(keyring_of(contexts.keys()), begins=lambda data: len(header) if len(data) > len(header) else None)
    tap.send(cut([(CLIENT, header)], [10])).send(talk.segments)
    tap.check()
    assert tap.reader.plain == [header + b"onetwo", b"answer"]
    assert tap.reader.acked[-2:] == [0, 6]
    assert tap.reader.view.offsets == (len(header) + 6, 6)


# --- gaps -----------------------------------------------------------------------------------------------------------


def served(make: Make, version: ssl.TLSVersion, answers: int = 40) -> tuple[Contexts, Talk, int]:
    """A request, many answers, and the number of the segment behind the first answer."""
    contexts = make(version)
    talk = Talk(contexts).shake().say(CLIENT, b"ask" * 50).say(SERVER, b"first")
    behind = len(talk.segments)
    for number in range(answers):
        talk.say(SERVER, bytes([number]) * (100 + 37 * number)).say(CLIENT, bytes([100 + number]) * 30)
    return contexts, talk, behind


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([TLS12, TLS13]), st.sampled_from([100, 536, 1460]))
def test_behind_a_gap_the_place_is_found_again(
    make: Make, data: st.DataObject, version: ssl.TLSVersion, step: int
) -> None:
    key = version, step
    if key not in _SERVED:
        _SERVED[key] = served(make, version)
    contexts, talk, behind = _SERVED[key]
    segments = cut(talk.segments[behind:], [step])
    begin = data.draw(st.integers(0, len(segments) - 2))
    end = begin + data.draw(st.integers(1, min(30, len(segments) - 1 - begin)))
    tap = Tap(keyring_of(contexts.keys())).send(talk.segments[:behind])
    tap.send(segments[:begin]).send(segments[begin:end], lost=True).send(segments[end:]).finish()
    tap.check()
    assert not tap.reader.reasons
    assert {direction for direction, _ in tap.reader.gaps} == {direction for direction, _ in segments[begin:end]}
    # what came is what was said, but for whole records that the gap touched
    records = {direction: [said for to, said in talk.turns if to == direction] for direction in (CLIENT, SERVER)}
    for direction in (CLIENT, SERVER):
        came = tap.reader.plain[direction]
        before = 0
        while before < len(records[direction]) and came.startswith(b"".join(records[direction][: before + 1])):
            before += 1
        rest = came[len(b"".join(records[direction][:before])) :]
        assert b"".join(records[direction]).endswith(rest)
        touched = sum(len(piece) for to, piece in segments[begin:end] if to == direction)
        missing = len(talk.said[direction]) - len(came)
        assert missing <= touched + 2 * 1600


_SERVED: dict[object, tuple[Contexts, Talk, int]] = {}


@pytest.mark.parametrize("lost", [1448, 14480, 65536, 1 << 20])
def test_gaps_of_any_size(make: Make, lost: int) -> None:
    contexts = make()
    talk = Talk(contexts).shake().say(CLIENT, b"ask")
    behind = len(talk.segments)
    for number in range(1200):
        talk.say(SERVER, number.to_bytes(4, "big") * (30, 100, 350, 700)[number % 4])
    stream = b"".join(data for _, data in talk.segments[behind:])
    assert len(stream) > lost + 100_000
    tap = Tap(keyring_of(contexts.keys())).send(talk.segments[:behind])
    tap.send(cut([(SERVER, stream[:1000])], [1460])).send([(SERVER, stream[1000 : 1000 + lost])], lost=True)
    tap.send(cut([(SERVER, stream[1000 + lost :])], [1460])).finish()
    tap.check()
    assert not tap.reader.reasons
    assert len(tap.reader.gaps) == 1
    assert len(talk.said[SERVER]) - len(tap.reader.plain[SERVER]) < lost + 8000
    assert talk.said[SERVER].endswith(tap.reader.plain[SERVER][-50_000:])


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_gap_within_the_handshake(make: Make, version: ssl.TLSVersion) -> None:
    """The server's certificate is lost: its key is known all the same."""
    contexts = make(version)
    talk = sizes(Talk(contexts).shake(), [10, 300])
    number = next(i for i, (direction, _) in enumerate(talk.segments) if direction == SERVER)
    flight = talk.segments[number][1]
    tap = Tap(keyring_of(contexts.keys())).send(talk.segments[:number])
    tap.send([(SERVER, flight[:200])]).send([(SERVER, flight[200:500])], lost=True).send([(SERVER, flight[500:])])
    tap.send(talk.segments[number + 1 :]).finish()
    tap.check()
    assert not tap.reader.reasons
    assert tap.reader.plain == talk.said


def test_a_handshake_that_was_not_seen_whole(make: Make) -> None:
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10])
    hello = talk.segments[0][1]
    for tap in (
        Tap(keyring_of(contexts.keys())).send([(CLIENT, hello[:100])], lost=True).send([(CLIENT, hello[100:])]),
        Tap(keyring_of(contexts.keys())).send([(CLIENT, hello[:100])]).send([(CLIENT, hello[100:])], lost=True),
    ):
        tap.send(talk.segments[1:]).finish()
        tap.check()
        assert tap.reader.reasons == ["tls_midstream"]
        assert tap.reader.plain == [b"", b""]


# --- whom the server takes ------------------------------------------------------------------------------------------


class Asked(Talk):
    """A server of TLS 1.3 that asks for the client's certificate, and a client that sends a request with its Finished.
    The keys are the client's log: as those of a server that tells all of them with its own Finished (Go)."""

    def ask(self, request: bytes) -> Asked:
        for _ in range(2):
            for side in (self.client, self.server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                if side is self.client and self.segments:
                    break
                self._flush()
        self.client.write(request)
        self.said[CLIENT] += request
        self.turns.append((CLIENT, request))
        self._flush()
        return self

    def look(self) -> Asked:
        """What the server makes of it."""
        with contextlib.suppress(ssl.SSLError):
            self.server.do_handshake()
        self._flush()
        return self


@pytest.fixture(params=[0, 2], ids=["no tickets", "tickets"])
def asking(make: Make, certificate: Certificate, request: pytest.FixtureRequest) -> Callable[[bool], Contexts]:
    def go(known: bool) -> Contexts:
        def setup(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
            server.verify_mode = ssl.CERT_REQUIRED
            server.load_verify_locations(certificate.chain)
            server.num_tickets = request.param
            if known:
                client.load_cert_chain(certificate.chain, certificate.key)
            client.keylog_filename, server.keylog_filename = server.keylog_filename, None

        return make(setup=setup)

    return go


def test_what_the_server_refuses_reaches_nobody(asking: Callable[[bool], Contexts]) -> None:
    contexts = asking(False)
    talk = Asked(contexts).ask(b"request")
    keyring = keyring_of(contexts.keys(), whole=False)
    tap = Tap(keyring).send(talk.segments)
    keyring.settle(tap.now + 10 * PATIENCE, PATIENCE)
    assert not tap.reader.reasons
    told = len(talk.segments)
    tap.send(talk.look().segments[told:])
    assert len(talk.segments) == told + 1, "an alert"
    tap.check()
    assert tap.reader.reasons == ["tls_refused"]
    assert tap.reader.plain == [b"", b""]
    assert tap.reader.dropped_bytes["tls_refused"] > len(b"request")
    tap.finish()
    tap.check()
    assert tap.reader.ended[-1] == "closed"
    assert not len(keyring)
    assert not list(keyring.waiting)


def test_who_is_taken_is_read_when_the_server_shows_it(asking: Callable[[bool], Contexts]) -> None:
    contexts = asking(True)
    talk = Asked(contexts).ask(b"request")
    keyring = keyring_of(contexts.keys(), whole=False)
    tap = Tap(keyring).send(talk.segments)
    for _ in range(3):  # however long it takes
        tap.now += 10 * PATIENCE
        keyring.settle(tap.now, PATIENCE)
    assert tap.reader.plain == [b"", b""]
    told = len(talk.segments)
    tap.send(talk.look().segments[told:])
    tickets = len(talk.segments) - told
    assert tap.reader.plain == [b"request" if tickets else b"", b""]
    told = len(talk.segments)
    assert talk.server.read(100) == b"request"
    talk.say(SERVER, b"answer").say(CLIENT, b"more")
    tap.send(talk.segments[told:]).finish()
    check_all(tap, talk)
    assert not list(keyring.waiting)


@pytest.mark.parametrize("late", [False, True])
def test_a_server_that_goes_without_a_word_has_taken_nobody(asking: Callable[[bool], Contexts], late: bool) -> None:
    contexts = asking(False)
    talk = Asked(contexts).ask(b"request")
    keyring = keyring_of(b"" if late else contexts.keys(), whole=False)
    tap = Tap(keyring).send(talk.segments).finish()
    if late:
        KeyLines(keyring).feed_untrusted(contexts.keys(), 0)
        keyring.settle(tap.now, PATIENCE)
        keyring.settle(tap.now + PATIENCE, PATIENCE)
    tap.check()
    assert tap.reader.reasons == ["tls_refused"]
    assert tap.reader.plain == [b"", b""]
    assert tap.reader.ended[-1] == "closed"
    assert not len(keyring)
    assert not list(keyring.waiting)


def test_no_more_of_who_is_not_taken_is_held_than_may_be(asking: Callable[[bool], Contexts]) -> None:
    contexts = asking(True)
    talk = Asked(contexts).ask(b"a" * HOLD_BYTES * 2)
    tap = Tap(keyring_of(contexts.keys(), whole=False)).send(cut(talk.segments, [1460]))
    assert tap.reader.reasons == ["memory"]
    assert tap.reader.plain == [b"", b""]
    tap.check()


def test_an_asking_that_was_not_captured(asking: Callable[[bool], Contexts]) -> None:
    """A gap in the server's flight: it may have asked."""
    contexts = asking(False)
    talk = Asked(contexts).ask(b"request")
    number = next(i for i, (direction, _) in enumerate(talk.segments) if direction == SERVER)
    flight = talk.segments[number][1]
    tap = Tap(keyring_of(contexts.keys(), whole=False)).send(talk.segments[:number]).send([(SERVER, flight[:150])])
    tap.send([(SERVER, flight[150:400])], lost=True).send([(SERVER, flight[400:])])
    told = number + 1
    tap.send(talk.look().segments[told:]).finish()
    tap.check()
    assert tap.reader.reasons == ["tls_refused"]
    assert tap.reader.plain == [b"", b""]


# --- waiting and gaps together --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_is_silent_behind_a_gap_lacks_no_key(make: Make, version: ssl.TLSVersion) -> None:
    """Of the server's flight something was lost, the keys came late, and the client has nothing to ask for now."""
    contexts = make(version)
    talk = sizes(Talk(contexts).shake(), [10, 300])
    first = next(i for i, (direction, _) in enumerate(talk.segments) if direction == SERVER)
    flight = talk.segments[first][1]
    keyring = Keyring()
    tap = Tap(keyring).send(talk.segments[:first]).send([(SERVER, flight[:200])])
    tap.send([(SERVER, flight[200:300])], lost=True).send([(SERVER, flight[300:400])])
    tap.send([(CLIENT, b"")])  # which acknowledges what was not captured
    KeyLines(keyring).feed_untrusted(contexts.keys(), 0)
    for _ in range(3):
        keyring.settle(tap.now, PATIENCE)
        tap.now += 2 * PATIENCE
    assert not tap.reader.reasons
    tap.send([(SERVER, flight[400:]), *talk.segments[first + 1 :]]).finish()
    tap.check()
    assert not tap.reader.reasons
    assert tap.reader.plain == talk.said


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([TLS12, TLS13]))
def test_who_is_told_its_keys_in_time_is_never_without(
    make: Make, data: st.DataObject, version: ssl.TLSVersion
) -> None:
    """Whatever is lost behind the hellos, in whatever order keys come, however long it is silent then."""
    contexts, talk = once(make, version)
    lines = [line + b"\n" for line in contexts.keys().split(b"\n") if line and line[:1] != b"#"]
    lines = data.draw(st.permutations(lines))
    segments = cut(talk.segments, data.draw(st.lists(st.integers(50, 400), min_size=1, max_size=5)))
    known = next(i for i, (direction, _) in enumerate(segments) if direction == SERVER) + 3
    lost = data.draw(st.sets(st.integers(known, min(len(segments) - 1, known + 20)), max_size=3))
    told = sorted(data.draw(st.lists(st.integers(0, known + 10), min_size=len(lines), max_size=len(lines))))
    silent = data.draw(st.sets(st.integers(0, min(len(segments), known + 20)), max_size=3))
    keyring = Keyring()
    tap = Tap(keyring)
    for number, segment in enumerate([*segments, None]):
        while told and told[0] <= number:
            told.pop(0)
            KeyLines(keyring).feed_untrusted(lines.pop(), 0)
            keyring.settle(tap.now, PATIENCE)
        if number in silent and not told:
            tap.now += 2 * PATIENCE
            keyring.settle(tap.now, PATIENCE)
        if segment is not None:
            tap.send([segment], lost=number in lost)
            tap.check()
    tap.finish()
    tap.check()
    assert "tls_no_key" not in tap.reader.reasons
    assert keyring.held == 0
    assert not list(keyring.waiting)


# --- the tables -----------------------------------------------------------------------------------------------------


def test_states_lead_somewhere_and_are_reached() -> None:
    for table, first in ((TRANSITIONS, {"opening", "joining"}), (DIRECTIONS, {"clear"}), (ADMISSION, {"unknown"})):
        ends = {state for events in table.values() for state in events.values()}
        assert ends <= table.keys()
        assert table.keys() <= ends | first
    assert TlsSession.__slots__


def test_nothing_shows_a_secret(make: Make) -> None:
    contexts = make()
    talk = sizes(Talk(contexts).shake(), [10])
    tap = Tap(keyring_of(contexts.keys(), whole=False)).send(talk.segments[:3])
    secrets = {line.split()[2].decode() for line in contexts.keys().split(b"\n") if line[:1] not in (b"", b"#")}
    shown = repr(tap.keyring) + repr(tap.reader.view) + repr(tap.outer) + repr(tap.reader.view.connection)
    shown += "".join(map(repr, tap.keyring._claimed.values()))
    assert not any(secret in shown or repr(bytes.fromhex(secret)) in shown for secret in secrets)
