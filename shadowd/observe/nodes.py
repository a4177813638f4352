"""One door to the doors of many daemons: what is asked here is asked of every node, and the answers are put together.

Whose verdict it is: any node's fail is a fail; a pass is one of every node that compared anything, and of one at least.
A node that cannot be asked, or that judges another build, leaves it inconclusive and is named. Each node judges its own
traffic, so a pass takes longer than with ``shadowctl verdict --merge``, which has all evidence, and false fails of the
nodes add up.

Names of nodes are looked up anew each time: behind a headless Service nodes come and go. A node that comes while a run
is on is given the run's label too.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import trio

from shadowd.errors import ShadowdError
from shadowd.observe.token import Token
from shadowd.protocols.http1_reader import ProtocolError
from shadowd.protocols.http1_response import ResponseReader
from shadowd.redact.quoting import visible

Address = tuple[str, int]

MAX_NODES = 5000  # what Kubernetes is tested for
AT_ONCE = 64  # connections: each has a descriptor
ANSWER_LIMIT = 4 << 20  # bytes of one answer; a verdict of 500 endpoints has some 300 KB
ASK_SECONDS = 5.0  # for one node; the door itself has 8
LOOK_SECONDS = 5.0  # between two looks at which nodes there are
_NAMED = 5  # nodes in a sentence


class Nodes:
    """The ``Sources`` and the ``Monitor`` of the door (``http.py``). ``missing``: nodes that may be out of reach."""

    def __init__(self, places: Sequence[Address], token: Token, missing: int = 0) -> None:
        self._places = places
        self._token = token
        self._missing = missing
        self._filters: list[str] = []
        self._known: set[Address] = set()
        self._begun: dict[str, str] = {}
        self._problem = "no node was asked yet"

    async def watch(self) -> None:
        """Which nodes and filters there are, until cancelled."""
        while True:
            await self.look()
            await trio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once; runs that were begun here begin on nodes that are new."""
        try:
            found = await self._ask_all("GET", "/filters")
        except ShadowdError as error:
            self._problem = str(error)
            return
        good = {address: told for address, told in found.items() if isinstance(told, dict)}
        self._filters = sorted({str(name) for told in good.values() for name in told.get("filters", [])})
        self._problem = "" if good else _sentence("no node can be asked", found)
        for address in good.keys() - self._known if self._known else ():
            for name, label in self._begun.items():
                await self._ask(address, "POST", f"/run/{_quoted(name)}?label={_quoted(label)}")
        self._known = set(good)

    # --- what the door shows ------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return self._filters

    async def verdict(self, name: str, label: str = "") -> dict[str, Any]:
        build = f"&label={_quoted(label)}" if label else ""
        found = await self._ask_all("GET", f"/verdict?filter={_quoted(name)}{build}")
        return together(name, label, {_shown(address): told for address, told in found.items()}, self._missing)

    async def start_run(self, name: str, label: str, restart: bool = False) -> dict[str, Any]:
        again = "&restart=true" if restart else ""
        found = await self._ask_all("POST", f"/run/{_quoted(name)}?label={_quoted(label)}{again}")
        silent = {address: told for address, told in found.items() if not isinstance(told, dict) or "error" in told}
        if len([told for told in silent.values() if isinstance(told, str)]) <= self._missing < len(found):
            silent = {address: told for address, told in silent.items() if isinstance(told, dict)}
        if silent:
            told = {address: told["error"] if isinstance(told, dict) else told for address, told in silent.items()}
            raise ShadowdError(
                _sentence(f"the run began on {len(found) - len(silent)} of {len(found)} nodes", told),
                "ask again: nodes on which it runs go on with it",
            )
        if label:
            self._begun[name] = label
        started = [bool(told.get("started")) for told in found.values() if isinstance(told, dict)]
        return {"filter": name, "label": label, "started": any(started), "nodes": len(found)}

    async def report(self, name: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        raise ShadowdError("reports are each node's", f"shadowctl report {name} there, or shadowctl verdict --merge")

    def dead(self) -> str:
        return ""

    def unready(self) -> str:
        return self._problem

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        await trio.lowlevel.checkpoint()
        up = "# HELP shadowd_gate_nodes Nodes that answer.\n# TYPE shadowd_gate_nodes gauge\n"
        return f"{up}shadowd_gate_nodes {len(self._known)}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _ask_all(self, method: str, path: str) -> dict[Address, dict[str, Any] | str]:
        """Of every node its JSON, or why there is none. Raises ShadowdError where no node is known."""
        addresses = await self._addresses()
        found: dict[Address, dict[str, Any] | str] = {}
        places = trio.CapacityLimiter(AT_ONCE)

        async def one(address: Address) -> None:
            async with places:
                found[address] = await self._ask(address, method, path)

        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(one, address)
        return dict(sorted(found.items()))

    async def _addresses(self) -> list[Address]:
        found: set[Address] = set()
        for host, port in self._places:
            try:
                with trio.fail_after(ASK_SECONDS):
                    answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError, trio.TooSlowError) as error:
                why = getattr(error, "strerror", None) or "no answer"
                raise ShadowdError(f"{host} cannot be resolved: {why}", "give the Service's name (--nodes)") from None
            found.update((str(answer[4][0]), port) for answer in answers)
        return sorted(found)[:MAX_NODES]

    async def _ask(self, address: Address, method: str, path: str) -> dict[str, Any] | str:
        try:
            with trio.fail_after(ASK_SECONDS):
                status, body = await _exchange(address, method, path, self._token.given())
        except trio.TooSlowError:
            return f"no answer within {ASK_SECONDS:g} s"
        except ShadowdError as error:
            return str(error)
        except (OSError, trio.BrokenResourceError) as error:
            return visible(str(getattr(error, "strerror", None) or "it cannot be reached"), 100)
        except ProtocolError as error:
            return f"it speaks no HTTP ({error})"
        if status == 401:
            return "it asks for another token"
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        return told if isinstance(told, dict) else f"it answers with status {status}"


def together(name: str, label: str, found: dict[str, dict[str, Any] | str], missing: int = 0) -> dict[str, Any]:
    """One verdict of the nodes' own, in their form; ``nodes`` has each node's."""
    nodes, troubles, others, saw = [], {}, {}, []
    for node, told in found.items():
        view: dict[str, Any] = {"verdict": "inconclusive", "error": told} if isinstance(told, str) else told
        shown = {key: view.get(key) for key in ("verdict", "score", "compared")}
        nodes.append({"node": node, **shown, "reasons": (view.get("reasons") or [])[:1], "error": view.get("error")})
        if "judged" in view:
            others[node] = str(view.get("judged") or "a run without a label")
        elif view.get("error"):
            troubles[node] = str(view["error"])
        elif view.get("compared"):
            saw.append((node, view))
    if sum(isinstance(told, str) for told in found.values()) <= missing:
        troubles = {node: why for node, why in troubles.items() if not isinstance(found[node], str)}
    verdict, reasons = "inconclusive", []
    failing = [(node, view) for node, view in saw if view.get("verdict") == "fail"]
    waiting = [(node, view) for node, view in saw if view.get("verdict") != "pass"]
    if failing:
        verdict = "fail"
        reasons = [f"{node}: {reason}" for node, view in failing[:_NAMED] for reason in (view.get("reasons") or [])[:2]]
    elif troubles or others:
        reasons = [_sentence("not every node was asked", troubles)] if troubles else []
        reasons += [_sentence("nodes judge another build", others)] if others else []
    elif not saw:
        reasons = ["no node has compared anything yet"]
    elif waiting:
        reasons = [f"{node}: {reason}" for node, view in waiting[:_NAMED] for reason in (view.get("reasons") or [])[:1]]
    else:
        verdict, reasons = "pass", [f"each of the {len(saw)} nodes that saw traffic passes"]
    scores = [view["score"] for _, view in saw if isinstance(view.get("score"), (int, float))]
    result = {
        "verdict": verdict, "score": min(scores) if scores else None, "reasons": reasons, "filter": name,
        "compared": sum(int(view["compared"]) for _, view in saw), "run": {"label": label}, "nodes": nodes,
    }  # fmt: skip
    if verdict == "inconclusive" and troubles:
        result["error"] = reasons[0]
    if not saw and others and not troubles:  # another build everywhere: the door's 409
        result |= {"judged": next(iter(others.values())), "error": reasons[0]}
    return result


async def _exchange(address: Address, method: str, path: str, token: str) -> tuple[int, bytes]:
    reader = ResponseReader(body_limit=ANSWER_LIMIT)
    reader.expect(method.encode())
    lines = [f"{method} {path} HTTP/1.1", f"Host: {_shown(address)}", "Content-Length: 0", "X-Shadowd: gate",
             f"Authorization: Bearer {token}", "Connection: close", "", ""]  # fmt: skip
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all("\r\n".join(lines).encode())
        while True:
            data = await stream.receive_some(1 << 16)
            done = reader.feed_untrusted(data, 0) if data else reader.eof()
            if done:
                return done[0].status, done[0].body
            if not data:
                raise ProtocolError("it ended too soon")
            if reader.partial_bytes > ANSWER_LIMIT:
                raise ProtocolError("the answer is too large")


def _sentence(what: str, found: dict[Any, Any]) -> str:
    told = [f"{_shown(node)} ({visible(str(why), 160)})" for node, why in list(found.items())[:_NAMED]]
    return f"{what}: {', '.join(told)}" + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")


def _shown(node: Address | str) -> str:
    if isinstance(node, str):
        return node
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted(text: str) -> str:
    return quote(text, safe="")


async def serve_gate(
    address: str,
    places: Iterable[Address],
    node_token: Token,
    token: Token,
    missing: int = 0,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A door at ``address`` to the nodes at ``places``, until SIGTERM. Raises ShadowdError, UsageError."""
    from shadowd.observe.http import serve_http  # a web framework: only where it is wanted

    nodes = Nodes(list(places), node_token, missing)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:  # process 1 of a container has no default
        async with trio.open_nursery() as nursery:
            await nodes.look()
            nursery.start_soon(nodes.watch)
            task_status.started(await nursery.start(serve_http, address, nodes, nodes, token))
            async for _ in signals:
                nursery.cancel_scope.cancel()
