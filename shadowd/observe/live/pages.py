"""The live pages' routes: the overview, a filter, one of its differences, their changes, and what their buttons do.

``GET /`` shows no content and asks for no token on the loopback address, as verdicts do not. What traffic said, and
every button, asks for the token. The pages are whole without scripts; with them, ``live.js`` puts in the parts that
``GET /live`` sends as they change.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files

import trio
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.answering import ANSWER_SECONDS, body_of, refused, told, unknown
from shadowd.observe.live import showing
from shadowd.observe.live.acting import PROOF, Proofs, form_untrusted, from_elsewhere, operation
from shadowd.observe.live.gathering import Gathered
from shadowd.observe.live.streaming import EventStream
from shadowd.observe.live.watching import Parts, Watching
from shadowd.observe.style import STYLE
from shadowd.observe.token import Token

MAX_STREAMS = 16  # of the door's 64 connections: pipelines must find a place
_SCRIPTED = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
#: With no-referrer a browser says ``Origin: null`` of its forms (Fetch, §3.2), and ours could not be told from others.
HEADERS = {"content-security-policy": _SCRIPTED, "referrer-policy": "same-origin"}

log = logging.getLogger("shadowd.http")


class LivePages:
    """``run`` is a task as long as the door is open."""

    def __init__(self, gathered: Gathered, token: Token | None) -> None:
        self._gathered = gathered
        self._token = token
        self._proofs = Proofs(token)
        self._watching = Watching(self._make, showing.wrong)
        self._node = ""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gathered.run)
            nursery.start_soon(self._watching.run)

    def routes(self) -> list[Route]:
        """Those of ``/``."""
        folder = files("shadowd.observe") / "templates" / "live"
        script = (folder / "live.js").read_text()
        style = STYLE + (folder / "live.css").read_text()
        return [
            Route("/", self._overview, methods=["GET"]),
            Route("/live", self._changes, methods=["GET"]),
            Route("/live.js", partial(_static, script, "text/javascript"), methods=["GET"]),
            Route("/live.css", partial(_static, style, "text/css"), methods=["GET"]),
            Route("/filter/{name}", self._filter, methods=["GET"]),
            Route("/filter/{name}/difference/{group}", self._difference, methods=["GET"]),
            Route("/filter/{name}/{act}", self._press, methods=["POST"]),
        ]

    # --- pages --------------------------------------------------------------------------------------------------------

    async def _overview(self, request: Request) -> Response:
        async def page() -> str:
            watched = await self._watching.look("")
            return showing.overview_page(watched.parts, self._node, watched.name)

        return await _answered(page, "the overview")

    async def _filter(self, request: Request) -> Response:
        name = request.path_params["name"]

        async def page() -> str:
            watched = await self._watching.look(name)
            return showing.filter_page(name, watched.parts, watched.name)

        return self._refusal(request, name) or await _answered(page, f"the page of {name}")

    async def _difference(self, request: Request) -> Response:
        name, group = request.path_params["name"], request.path_params["group"]

        async def page() -> str:
            found = await self._gathered.difference(name, group)
            return await trio.to_thread.run_sync(showing.one_difference, name, found, self._proofs.make())

        return self._refusal(request, name) or await _answered(page, f"the difference {group}")

    async def _changes(self, request: Request) -> Response | EventStream:
        """The stream of what changes, of one filter or of all."""
        name = request.query_params.get("filter", "")
        refusal = self._refusal(request, name) if name else None
        if refusal is not None:
            return refusal
        try:
            with trio.fail_after(ANSWER_SECONDS):
                watched = await self._watching.look(name)
        except Exception as error:
            return PlainTextResponse(f"{told(error, 'the live page')}\n", 503)
        if self._watching.readers >= MAX_STREAMS:
            full = f"{MAX_STREAMS} live pages are open already — close one, or reload this page to see it as it is now"
            return PlainTextResponse(f"{full}\n", 503, {"retry-after": "30"})
        last = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return EventStream(watched, watched.seen(last))

    def _refusal(self, request: Request, name: str) -> Response | None:
        """For who has no token; for a filter that is not there."""
        if self._token is None or not self._token.admits(request.headers.get("authorization", "")):
            return refused(self._token, False)
        names = self._gathered.names()
        return None if name in names else PlainTextResponse(f"{unknown(name, names)}\n", 404)

    async def _make(self, what: str) -> Parts:
        """The parts of a page, for all who read it."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                if not what:
                    found = await self._gathered.overview()
                    self._node = found["node"]
                    make = partial(showing.overview, found)
                else:
                    make = partial(showing.one_filter, await self._gathered.filter(what), self._proofs.make())
                # in a thread: a page takes tens of milliseconds, and the loop has traffic to mirror
                return await trio.to_thread.run_sync(make)
        except Exception as error:
            raise told(error, f"the page of {what}" if what else "the overview") from None

    # --- buttons ------------------------------------------------------------------------------------------------------

    async def _press(self, request: Request) -> Response:
        body = await body_of(request)
        name, act = request.path_params["name"], request.path_params["act"]
        refusal = self._refusal(request, name)
        if refusal is not None:
            return refusal
        if elsewhere := from_elsewhere(request.headers):
            return PlainTextResponse(f"{elsewhere}\n", 403)
        try:
            form = form_untrusted(body)
            if not self._proofs.holds(form.get(PROOF, "")):
                sentence = "this form was not written by this door, or before it was opened anew — reload the page"
                return PlainTextResponse(f"{sentence}\n", 403)
            op, args, words = operation(name, act, form)
            with trio.fail_after(ANSWER_SECONDS):
                await self._gathered.act(op, args)
        except UsageError as error:
            return PlainTextResponse(f"{error}\n", 400)
        except Exception as error:
            wrong = told(error, f"{act} of {name}")
            return PlainTextResponse(f"{wrong}\n", 409 if isinstance(error, ShadowdError) else 500)
        who = request.client.host if request.client is not None else "?"
        log.warning("http: filter %s: %s, by a button of the live page, from %s", name, words, who)
        self._watching.expire(name)
        return RedirectResponse(showing.filter_path(name), 303)


async def _answered(page: Callable[[], Awaitable[str]], what: str) -> Response:
    try:
        with trio.fail_after(ANSWER_SECONDS):
            return HTMLResponse(await page(), headers=HEADERS)
    except UsageError as error:
        return PlainTextResponse(f"{error}\n", 404)
    except Exception as error:
        return PlainTextResponse(f"{told(error, what)}\n", 500)


async def _static(text: str, media_type: str, request: Request) -> Response:
    return Response(text, media_type=media_type)
