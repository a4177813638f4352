"""HTTP/1.1 as ASGI has it: bytes of a client become requests, messages of an application become bytes. Sans-IO: h11.

    feed ─► next_request ─► scope                  what an application is called with
         └► next_body    ─► http.request           what its receive() gives; the last says that no more will come
            answer       ◄─ http.response.*        what its send() takes, as bytes
            goes_on                                both sides are through, and a next request may come

Requests come one after the other: bytes of the next one, pipelined, stay where they are until ``goes_on``. The order of
a request and its answer is free: an application may answer before it has read the body, and then the connection ends
with that answer, unless the rest of the body is here already.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import h11

Message = dict[str, Any]  # ASGI's
Address = tuple[str, int] | None
_BODILESS = (204, 304)
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


class Refused(Exception):
    """No answer but ``status``, if none has begun, and then the end: what came is no HTTP/1.1, or too large."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Http11:
    """One connection of a server."""

    __slots__ = ("_bodies", "_client", "_connection", "_head_only", "_server", "ended")

    def __init__(self, head_limit: int, client: Address = None, server: Address = None) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=head_limit)
        self._client, self._server = client, server
        self._bodies: list[Message] = []  # read, and not asked for
        self._head_only = False
        self.ended = False  # the client sends no more

    def feed_untrusted(self, data: bytes | bytearray) -> None:
        """``data``: as it came; empty at the end."""
        self.ended = self.ended or not data
        self._connection.receive_data(bytes(data))

    # --- requests -----------------------------------------------------------------------------------------------------

    def next_request_untrusted(self) -> Message | None:
        """Its scope; None where bytes are missing (none will come where it has ``ended``). Raises Refused."""
        event = self._next_untrusted()
        if not isinstance(event, h11.Request):
            return None
        if not event.http_version.startswith(b"1."):
            raise Refused(505)
        target, headers = event.target, list(event.headers)
        if not target.startswith(b"/"):  # absolute-form, whose authority goes before Host (RFC 9112 §3.2.2)
            target, headers = _origin_form_untrusted(target, headers)
        path, _, query = target.partition(b"?")
        self._head_only = event.method == b"HEAD"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},  # 2.4 would have applications wait for a failing send
            "http_version": event.http_version.decode(),
            "method": event.method.decode(),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._server,
            "extensions": {},
        }

    def next_body_untrusted(self) -> Message | None:
        """The next piece; None where bytes are missing. Not to be called when all has been given. Raises Refused."""
        if not self._bodies:
            self._read_body_untrusted()
        return self._bodies.pop(0) if self._bodies else None

    def _read_body_untrusted(self) -> bool:
        """Take one event of the body from what is here; whether there was one."""
        event = self._next_untrusted()
        if isinstance(event, h11.Data):
            self._bodies.append({"type": "http.request", "body": bytes(event.data), "more_body": True})
        elif isinstance(event, h11.EndOfMessage):
            self._bodies.append({"type": "http.request", "body": b"", "more_body": False})
        else:
            return False
        return True

    def _next_untrusted(self) -> object:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint) from None

    @property
    def received(self) -> bool:
        """All of the request was given."""
        return not self._bodies and not self._arriving

    @property
    def _arriving(self) -> bool:
        return self._connection.their_state in (h11.SEND_BODY, h11.ERROR)

    @property
    def ahead(self) -> int:
        """Bytes that are here and belong to no request yet."""
        return len(self._connection.trailing_data[0])

    # --- answers ------------------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        return self._connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def answered(self) -> bool:
        return self._connection.our_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    def encourage(self) -> bytes:
        """``100 Continue``, where the client waits for it before it sends its body (RFC 9110 §10.1.1)."""
        if not self._connection.they_are_waiting_for_100_continue:
            return b""
        return self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def answer(self, message: Message) -> bytes:
        """An application's message as bytes. Raises KeyError, ValueError or h11's LocalProtocolError where it is none,
        or has no place here. An answer to HEAD is whole with the first message of its body."""
        if message["type"] == "http.response.start":
            status, headers = int(message["status"]), list(message.get("headers", ()))
            self._head_only = self._head_only or status in _BODILESS
            return self._start(status, headers)
        if message["type"] != "http.response.body" or not self.begun:  # h11 would take no other answer after that
            raise ValueError(f"{message['type']} has no place here")
        body = b"" if self._head_only else bytes(message.get("body", b""))
        sent = self._send(h11.Data(data=body)) if body else b""
        if self._head_only or not message.get("more_body", False):
            sent += self._send(h11.EndOfMessage())
        return sent

    def refusal(self, status: int) -> bytes:
        """An answer without content, and the last; nothing where another one has begun."""
        if self.begun:
            return b""
        head = self._start(status, [(b"content-length", b"0"), (b"connection", b"close")])
        return head + self._send(h11.EndOfMessage())

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        headers.append((b"date", formatdate(usegmt=True).encode()))  # RFC 9110 §6.6.1
        if self._is_unread() and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        return self._send(h11.Response(status_code=status, headers=headers, reason=_PHRASES.get(status, b"")))

    def _send(self, event: h11.Event) -> bytes:
        return self._connection.send(event) or b""

    def _is_unread(self) -> bool:
        """Whether some of the request's body is still to come."""
        try:
            while self._arriving and self._read_body_untrusted():
                pass
        except Refused:
            pass  # it is in its state
        return self._arriving

    def goes_on(self) -> bool:
        """Whether a next request can be read; what this one left is forgotten then."""
        try:
            if self._is_unread():
                return False
            self._connection.start_next_cycle()
        except h11.LocalProtocolError:  # one of both wants the end
            return False
        self._bodies.clear()
        return True


def _origin_form_untrusted(
    target: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Path and headers for a target in another form; ``*`` and ``host:port`` (OPTIONS, CONNECT) stay as they are."""
    try:
        parts = urlsplit(target)
    except ValueError:
        raise Refused(400) from None
    if not parts.netloc:
        return target, headers
    others = [(name, value) for name, value in headers if name != b"host"]
    path = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    return path, [*others, (b"host", parts.netloc.rpartition(b"@")[2])]
