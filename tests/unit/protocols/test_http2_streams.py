"""One stream of HTTP/2: what makes its request none, and what is kept of it. Peers of the ``h2`` package, or bytes that
they refuse to send."""

from __future__ import annotations

import pytest

from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_frames import frame
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Headers, Reading, Talk, asked

OK: Headers = [(b":status", b"200"), (b"content-type", b"text/plain")]


@pytest.mark.parametrize("trailing", [False, True])
@pytest.mark.parametrize(("said", "content"), [(0, 46), (45, 46), (47, 46), (1, 0), (10**17, 46)])
def test_a_length_that_is_not_the_contents_smuggles_nothing(said: int, content: int, trailing: bool) -> None:
    """In HTTP/1 form the rest of this GET's content would be a request of its own, which no policy has seen."""
    talk = Talk()
    length = (b"content-length", b"%d" % said)
    hidden = b"DELETE /orders/1 HTTP/1.1\r\nHost: shop\r\n\r\n".ljust(46)[:content]
    talk.raw(CLIENT, frames.header_block(1, encode(asked(b"/a", b"GET", length)), end=not content and not trailing))
    if content:
        talk.raw(CLIENT, frame(frames.DATA, 0 if trailing else frames.END_STREAM, 1, hidden))
    if trailing:
        talk.raw(CLIENT, frames.header_block(1, encode([(b"x-sum", b"1")]), end=True))
    talk.raw(SERVER, frames.reset(1, frames.PROTOCOL_ERROR))
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["filtered unparsable"]


@pytest.mark.parametrize("body", [b"", b"x" * 30_000])
@pytest.mark.parametrize("trailers", [None, [(b"x-sum", b"1")]])
def test_a_length_that_is_the_contents_is_no_reason(body: bytes, trailers: Headers | None) -> None:
    talk = Talk()
    length = (b"content-length", b"%d" % len(body))
    talk.answer(talk.ask(asked(b"/a", b"POST", length), body, trailers), OK, b"fine")
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["request /a", "response /a 200"]
    assert seen.exchanges[0].request.body == body
