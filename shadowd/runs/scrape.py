"""Fetches one Prometheus text page over plain HTTP; small, bounded, with a time limit over all of it."""

from __future__ import annotations

from urllib.parse import urlsplit

import trio

from shadowd.compare.content import content_untrusted
from shadowd.errors import ShadowdError
from shadowd.protocols.http1_reader import ProtocolError
from shadowd.protocols.http1_response import ResponseReader

#: Bytes of a page: a busy exporter's is some hundred KB.
PAGE_LIMIT = 8 << 20
#: Seconds for all of it; the page is asked for each second.
FETCH_SECONDS = 2.0


async def fetch_page(url: str) -> bytes:
    """The page's text. Raises ShadowdError: what is wrong with it, and where to look."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with trio.fail_after(FETCH_SECONDS):
            return await _fetch(host, port, target, parts.netloc)
    except trio.TooSlowError:
        problem = f"no answer within {FETCH_SECONDS:g} s"
    except (OSError, trio.BrokenResourceError) as error:
        problem = str(getattr(error, "strerror", None) or error)
    except ProtocolError as error:
        problem = f"not HTTP ({error})"
    raise ShadowdError(f"the metrics page {url} cannot be read: {problem}", "check the address, or leave it out")


async def _fetch(host: str, port: int, target: str, authority: str) -> bytes:
    reader = ResponseReader(body_limit=PAGE_LIMIT)
    reader.expect(b"GET")
    async with await trio.open_tcp_stream(host, port) as stream:
        head = f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
        await stream.send_all(head.encode())
        while True:
            data = await stream.receive_some(1 << 16)
            done = reader.feed_untrusted(data, 0) if data else reader.eof()
            if done:
                break
            if not data:
                raise ProtocolError("truncated")
            if reader.partial_bytes > PAGE_LIMIT:
                raise ProtocolError("too large")
    response = done[0]
    if response.status != 200:
        raise ProtocolError(f"status {response.status}")
    content = content_untrusted(response.head, response.body, PAGE_LIMIT)
    if content.problem:
        raise ProtocolError(content.problem)
    return content.data
