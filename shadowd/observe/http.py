"""The HTTP door: the verdict for pipelines, the report for people.

``GET /verdict?filter=NAME`` is always 200 with JSON, because Argo Rollouts takes anything else for an error of its own
and not for a verdict; what went wrong stands in ``error``, and the verdict is then ``inconclusive``.
``POST /flagger/NAME`` speaks in status codes, because Flagger reads nothing else: 200 to go on, 412 to stay, and
``/flagger/NAME/rollback`` 200 to roll back. Connections are let in by ``entrance.py`` and served one by one by
``serving.py``, so that their number is bounded and a broken one ends alone.

With ``label=`` a verdict belongs to that build: 409 while another one is judged. ``POST /run/NAME?label=`` begins a
run, and ``POST /flagger/NAME/start`` does as Flagger asks. Both change something, so a web page must not be able to
ask for it: they want a header that no page can send elsewhere without leave (``X-Shadowd``, or JSON as the content's
type), and no leave is ever given.

``GET /healthz`` and ``GET /readyz`` are for orchestrators: 200, or 503 with the reason.

The door knows no users but one: who has the token (``token.py``) may see what traffic said, in reports and on
live pages (``live/``), and press their buttons. Verdicts are told without. It listens on the loopback address unless
told otherwise, and there it answers only to names of the loopback address, so that a web page cannot reach it by DNS
rebinding; elsewhere all but health asks for the token. A second door without ``sources`` (the setting ``monitor``) has
no verdicts and no reports, and so may be open to the network.

This module imports starlette and h11 (about 6 MB): import it only where there is a door to open.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.answering import (
    ANSWER_SECONDS,
    CHECKSUM,
    body_of,
    flagger_label,
    from_a_page,
    json_response,
    refused,
    sentence,
    told,
    undecided,
    unknown,
    without_content,
)
from shadowd.observe.entrance import BACKLOG, HEADER_LIMIT, Entrance
from shadowd.observe.live.gathering import Gathered
from shadowd.observe.live.pages import LivePages
from shadowd.observe.report import render_html
from shadowd.observe.token import Token
from shadowd.redact.quoting import visible

BODY_LIMIT = 64 << 10  # Flagger sends some hundred bytes; what it says is not needed

CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

log = logging.getLogger("shadowd.http")


class Sources(Protocol):
    """Where the door gets what it shows. Both may raise ShadowdError, for instance for a filter that is not there."""

    def names(self) -> list[str]:
        """The filters there are."""
        ...

    async def verdict(self, name: str, label: str = "") -> dict[str, Any]:
        """The verdict as ``GET /verdict`` answers it; ``judged`` is in it where another build is judged."""
        ...

    async def start_run(self, name: str, label: str, restart: bool = False) -> dict[str, Any]:
        """Begin a run for a build, or go on with the one it has."""
        ...

    async def report(self, name: str) -> dict[str, Any]:
        """What ``render_html`` takes."""
        ...


class Monitor(Protocol):
    """How the daemon is; an empty text is good news."""

    def dead(self) -> str:
        """Why it should be restarted."""
        ...

    def unready(self) -> str:
        """Why it does not do what it was configured to do."""
        ...

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """The metrics page in the form that ``accept`` (a header) prefers, and its media type."""
        ...


async def serve_http(
    address: str,
    sources: Sources | None,
    monitor: Monitor,
    token: Token | None = None,
    gathered: Gathered | None = None,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; ``started`` is called with the address once clients can connect.

    Without ``sources`` only health and metrics are told; ``gathered`` is what live pages show. ``token`` opens what
    traffic said (reports); without one that stays closed, and an address beyond this host is refused unless the
    operator named the token's file.

    ``address`` is ``HOST:PORT`` (``[::1]:9750`` for IPv6; port 0 chooses one). Raises UsageError if it is none, and
    ShadowdError if it cannot be bound.
    """
    host, port = address_of(address)
    listener = await _bound(address, host, port)
    try:
        bound = listener.getsockname()
        hosts = _allowed_hosts(host, str(bound[0]))
        if hosts is None and sources is not None and (token is None or not token.named):
            raise ShadowdError(
                f"{visible(address, 80)} is open to the network, and reports show parts of production's answers",
                "say who may read them with http_token_file (--http-token-file FILE), or listen on 127.0.0.1",
            )
        live = LivePages(gathered, token) if gathered is not None else None
        app = _Guard(_application(sources, monitor, token, live), hosts, token if hosts is None and sources else None)
        entrance = Entrance(app, {"/healthz": monitor.dead, "/readyz": monitor.unready})
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        async with trio.open_nursery() as nursery:
            if live is not None:
                nursery.start_soon(live.run)
            task_status.started(f"{shown}:{bound[1]}")
            await entrance.serve(listener)
    finally:
        listener.close()


def address_of(address: str) -> tuple[str, int]:
    """``HOST:PORT`` in two. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535 or len(host) > 253:
        what = visible(address, 80)
        raise UsageError(f"{what!r} is no address to listen on", "give HOST:PORT, such as 127.0.0.1:9750 or [::1]:9750")
    return host, int(port)


async def _bound(address: str, host: str, port: int) -> trio.socket.SocketType:
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, name = found[0]
        made = trio.socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await made.bind(name)
            made.listen(BACKLOG)
        except BaseException:
            made.close()
            raise
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ShadowdError(
            f"{visible(address, 80)} cannot be bound: {why}",
            "choose another address in the configuration or with --http, or '' for none",
        ) from None
    return made


def _allowed_hosts(host: str, bound: str) -> frozenset[str] | None:
    """Names that a request may be for; None for any, where the door is open to the network."""
    try:
        if not ipaddress.ip_address(bound.partition("%")[0]).is_loopback:
            return None
    except ValueError:
        return None
    named = {host.lower(), bound.lower(), f"[{bound.lower()}]"}
    return frozenset({"localhost", "127.0.0.1", "[::1]"} | named)


# --- requests ---------------------------------------------------------------------------------------------------------


class _Guard:
    """Before any route: method, name of the host, size of the body; after it: headers that all answers have."""

    __slots__ = ("_app", "_hosts", "_token")

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, token: Token | None) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token  # asked for by all but health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no WebSocket, and nothing to start up
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}  # a live page says itself what it may load
                message["headers"] = [*message["headers"], *(one for one in _HEADERS if one[0] not in own)]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, with_headers)
            return
        left = BODY_LIMIT

        async def bounded() -> Any:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"a body of at most {BODY_LIMIT >> 10} KB is read\n")
            return message

        await self._app(scope, bounded, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("GET, HEAD or POST\n", 405, {"allow": "GET, HEAD, POST"})
        # The parser bounds only what it has to wait for; a head that came at once can be larger.
        head = len(scope["raw_path"]) + len(scope["query_string"])
        if head + sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_LIMIT:
            return PlainTextResponse(f"a head of at most {HEADER_LIMIT >> 10} KB is read\n", 431)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        size = headers.get(b"content-length", "0")
        if size.isdigit() and int(size[:20]) > BODY_LIMIT:
            return PlainTextResponse(f"a body of at most {BODY_LIMIT >> 10} KB is read\n", 413)
        asked = headers.get(b"authorization", "")
        if self._token is not None and scope["path"] not in _HEALTH and not self._token.admits(asked):
            return refused(self._token, scope["path"].endswith(".json"))
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) > 1:
            return PlainTextResponse("a request is for one host (RFC 9112 §3.2)\n", 400)
        host = hosts[0] if hosts else None
        # Without a Host header (HTTP/1.0) no browser speaks, and it is browsers that are led astray.
        if self._hosts is None or host is None or _host_name(host) in self._hosts:
            return None
        return PlainTextResponse(f"{visible(host, 80)} is not served here: ask for localhost or 127.0.0.1\n", 421)


def _host_name(host: str) -> str:
    """The Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not (":" in name and not name.endswith("]")):
        host = name
    return host.lower().removesuffix(".")


_HEALTH = ("/healthz", "/readyz")


def _application(sources: Sources | None, monitor: Monitor, token: Token | None, live: LivePages | None) -> Starlette:
    routes = [
        Route("/healthz", partial(_probe, monitor.dead), methods=["GET"]),
        Route("/readyz", partial(_probe, monitor.unready), methods=["GET"]),
        Route("/metrics", partial(_metrics, monitor), methods=["GET"]),
    ]
    if sources is not None:
        pages = _Pages(sources, token)
        routes += [
            Route("/filters", pages.filters, methods=["GET"]),
            Route("/verdict", pages.verdict, methods=["GET"]),
            Route("/report/{name}", pages.report, methods=["GET"]),
            Route("/flagger/{name}", pages.flagger, methods=["POST"]),
            Route("/flagger/{name}/rollback", pages.rollback, methods=["POST"]),
            Route("/flagger/{name}/start", pages.flagger_start, methods=["POST"]),
            Route("/run/{name}", pages.start, methods=["POST"]),
        ]
    if live is not None:
        routes += live.routes()
    return Starlette(routes=routes)


async def _probe(well: Callable[[], str], request: Request) -> Response:
    wrong = well()
    return PlainTextResponse(f"{visible(wrong, 1000)}\n", 503) if wrong else PlainTextResponse("ok\n")


async def _metrics(monitor: Monitor, request: Request) -> Response:
    try:
        with trio.fail_after(ANSWER_SECONDS):
            page, media_type = await monitor.metrics(request.headers.get("accept", ""))
    except Exception as error:
        return PlainTextResponse(f"{told(error, 'the metrics page')}\n", 500)
    return Response(page, media_type=None, headers={"content-type": media_type})


class _Pages:
    def __init__(self, sources: Sources, token: Token | None) -> None:
        self._sources = sources
        self._token = token

    def _admitted(self, request: Request) -> bool:
        return self._token is not None and self._token.admits(request.headers.get("authorization", ""))

    async def filters(self, request: Request) -> Response:
        return json_response({"filters": self._sources.names()})

    async def verdict(self, request: Request) -> Response:
        name = request.query_params.get("filter")
        if not name:
            names = self._sources.names()
            if len(names) != 1:
                listed = ", ".join(names[:20]) or "there are none yet"
                return json_response(undecided(UsageError("the parameter filter is missing", f"filters: {listed}")))
            name = names[0]
        found = await self._verdict_of(name, request.query_params.get("label", ""))
        if not self._admitted(request):
            found = without_content(found)
        return json_response(found, 409 if "judged" in found else 200)

    async def start(self, request: Request) -> Response:
        await body_of(request)
        asked = request.query_params
        refusal = from_a_page(request)
        return refusal or await self._start(request, asked.get("label", ""), asked.get("restart") in ("true", "1"))

    async def flagger_start(self, request: Request) -> Response:
        """Flagger's ``pre-rollout``."""
        label = flagger_label(await body_of(request))
        return from_a_page(request) or await self._start(request, label, False)

    async def _start(self, request: Request, label: str, restart: bool) -> Response:
        name, names = request.path_params["name"], self._sources.names()
        if name not in names:
            return json_response({"error": str(unknown(name, names))}, 404)
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return json_response(await self._sources.start_run(name, label, restart))
        except UsageError as error:
            return json_response({"error": str(error)}, 400)
        except Exception as error:
            return json_response({"error": str(told(error, f"the run of {name}"))}, 409 if _is_ours(error) else 500)

    async def flagger(self, request: Request) -> Response:
        found = await self._verdict_for_flagger(request)
        return PlainTextResponse(sentence(found), 200 if found.get("verdict") == "pass" else 412)

    async def rollback(self, request: Request) -> Response:
        found = await self._verdict_for_flagger(request)
        return PlainTextResponse(sentence(found), 200 if found.get("verdict") == "fail" else 412)

    async def _verdict_for_flagger(self, request: Request) -> dict[str, Any]:
        """Of the build that Flagger names; one that it began itself is asked for by the same name."""
        label = flagger_label(await body_of(request))
        name = request.path_params["name"]
        found = await self._verdict_of(name, label)
        if label.startswith(CHECKSUM) and "judged" in found and not str(found["judged"]).startswith(CHECKSUM):
            return await self._verdict_of(name)  # the run was begun by somebody else, and Flagger was told no label
        return found

    async def report(self, request: Request) -> Response:
        asked: str = request.path_params["name"]
        as_json = asked.endswith(".json")
        if not self._admitted(request):
            return refused(self._token, as_json)
        name = asked.removesuffix(".json")
        if name not in self._sources.names():
            error = unknown(name, self._sources.names())
            return json_response({"error": str(error)}, 404) if as_json else PlainTextResponse(f"{error}\n", 404)
        try:
            with trio.fail_after(ANSWER_SECONDS):
                data = await self._sources.report(name)
            if as_json:
                return json_response(data)
            # In a thread: a page takes tens of milliseconds, and the loop has traffic to mirror.
            return HTMLResponse(await trio.to_thread.run_sync(partial(render_html, data)))
        except Exception as error:
            wrong = told(error, f"the report of {name}")
        return json_response({"error": str(wrong)}, 500) if as_json else PlainTextResponse(f"{wrong}\n", 500)

    async def _verdict_of(self, name: str, label: str = "") -> dict[str, Any]:
        """The verdict; where there is none, ``inconclusive`` with the reason."""
        names = self._sources.names()
        if name not in names:
            return undecided(unknown(name, names))
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await (self._sources.verdict(name, label) if label else self._sources.verdict(name))
        except Exception as error:
            return undecided(told(error, f"the verdict of {name}"))


def _is_ours(error: Exception) -> bool:
    return isinstance(error, ShadowdError)
