"""What the demo's service sells: the answers of version 1, and of version 2 with its planted faults (sans-IO).

An answer is a pure function of the request, so that whatever differs between the two versions is one of the faults
listed in ``PLANTED``. (The ``Date`` and ``X-Request-Id`` headers, which do vary, are added by ``service``.)
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

LEAK_LIMIT = 256 * 1024  # leaked pieces of 1 KB: a forgotten version 2 stops growing at 256 MB
SEARCH_MS = {1: 4, 2: 44}  # the planted slowness: +40 ms, far above the jitter of a loopback machine, a busy one's too
FAIL_EACH = 100  # version 2 answers each 100th GET /items/{id} with 500: 1 %, too rare to see in staging
STREAM_PARTS = 5  # chunks of GET /stream
STREAM_PAUSE = 0.001  # seconds between the parts of a stream, so that they are separate segments
ORDER_LINES = 100  # lines of an order that are read: an answer stays well under the report's size
PLANTED = (
    "GET /orders/{id} forgets the last line in the total when id % 7 == 3",
    "GET /search takes 44 ms where version 1 takes 4 ms",
    "each 100th GET /items/{id} is a 500",
    "1 KB is kept for ever per request",
)

GOODS = ("bolt", "nut", "washer", "spring", "gear", "bearing", "shaft", "valve", "pump", "seal", "clamp")


class Request:
    """One request, read whole. Header names are lower-case; of a repeated header the last value counts."""

    __slots__ = ("body", "headers", "keep_alive", "method", "target", "version")

    def __init__(self, method: str, target: str, version: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.body = body
        tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
        # RFC 9112 §9.3: 1.1 persists unless "close", 1.0 closes unless "keep-alive".
        self.keep_alive = "close" not in tokens and (version == "HTTP/1.1" or "keep-alive" in tokens)


class Reply:
    """An answer. ``parts`` instead of ``body`` is sent chunked.

    ``delay`` is in seconds, and so are ``pauses``: before each part but the first.
    """

    __slots__ = ("body", "content_type", "delay", "headers", "parts", "pauses", "status")

    def __init__(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.pauses: Iterator[float] = itertools.repeat(STREAM_PAUSE)
        self.delay = 0.0


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _item(number: int) -> dict[str, object]:
    """The goods with this number, always the same: a price in cents and a name out of its digits."""
    return {"id": number, "name": GOODS[number % len(GOODS)], "price_cents": 100 + number * 37 % 9_900}


class Shop:
    """The service's logic for one version. Not a function only because the planted faults need a counter."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.requests = 0
        self._item_requests = 0
        self._leaked: list[bytes] = []
        self._report = self._build_report()

    def answer(self, request: Request) -> Reply:
        """The reply to a request; HEAD is answered as GET (the connection leaves the body out)."""
        self.requests += 1
        if self.version == 2 and len(self._leaked) < LEAK_LIMIT:
            self._leaked.append(bytes(1024))
        target = request.target
        if target.startswith("http://"):  # absolute form, which every server accepts (RFC 9112 §3.2.2)
            target = "/" + target[7:].partition("/")[2]
        path, _, _ = target.partition("?")
        resource, _, identity = path[1:].partition("/")
        reading = request.method in ("GET", "HEAD")
        routes: dict[tuple[str, bool], Callable[[Request, int], Reply]] = {
            ("items", True): self._get_item,
            ("orders", True): self._get_order,
            ("health", False): self._health,
            ("items", False): self._list_items,
            ("search", False): self._search,
            ("stream", False): self._stream,
            ("report", False): self._get_report,
        }
        if path == "/orders" and request.method == "POST":
            return self._post_order(request)
        route = routes.get((resource, bool(identity)))
        if route is None and path != "/orders":
            return Reply(404, _json({"error": "no such resource"}))
        if route is None or not reading:
            refusal = Reply(405, _json({"error": "method not allowed"}))
            refusal.headers["Allow"] = "POST" if path == "/orders" else "GET, HEAD"
            return refusal
        if identity and not (identity.isascii() and identity.isdigit() and len(identity) < 10):
            return Reply(404, _json({"error": "no such resource"}))
        return route(request, int(identity or 0))

    def _health(self, _request: Request, _number: int) -> Reply:
        return Reply(200, _json({"status": "ok"}))

    def _list_items(self, request: Request, _number: int) -> Reply:
        page = _query(request, "page", "1")
        if not (page.isascii() and page.isdigit() and len(page) <= 5 and 1 <= int(page) <= 10_000):
            return Reply(400, _json({"error": "page must be a number from 1 to 10000"}))
        first = (int(page) - 1) * 20
        return Reply(200, _json({"page": int(page), "items": [_item(n) for n in range(first, first + 20)]}))

    def _get_item(self, request: Request, number: int) -> Reply:
        counts = request.method == "GET"
        self._item_requests += counts
        if self.version == 2 and counts and self._item_requests % FAIL_EACH == 0:
            return Reply(500, _json({"error": "stock lookup failed"}))
        return Reply(200, _json({**_item(number), "in_stock": number % 5 != 0}))

    def _get_order(self, _request: Request, number: int) -> Reply:
        lines: list[dict[str, object]] = [
            {"line": k + 1, "item": _item(number * 3 + k), "quantity": 1 + (number + k) % 4}
            for k in range(number % 4 + 1)
        ]
        counted = lines[:-1] if self.version == 2 and number % 7 == 3 else lines
        return Reply(200, _json({"id": number, "lines": lines, "total_cents": _total(counted)}))

    def _post_order(self, request: Request) -> Reply:
        try:
            order = json.loads(request.body)
            wanted = [(int(line["item"]), int(line["quantity"])) for line in order["lines"][:ORDER_LINES]]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return Reply(400, _json({"error": 'the body must be {"lines":[{"item":N,"quantity":N},...]}'}))
        lines: list[dict[str, object]] = [{"item": _item(n), "quantity": quantity} for n, quantity in wanted]
        number = zlib.crc32(request.body) % 1_000_000  # the same order always gets the same number
        reply = Reply(201, _json({"id": number, "lines": lines, "total_cents": _total(lines)}))
        reply.headers["Location"] = f"/orders/{number}"
        return reply

    def _search(self, request: Request, _number: int) -> Reply:
        words = _query(request, "q", "")[:100]
        first = zlib.crc32(words.encode()) % 1_000
        reply = Reply(200, _json({"q": words, "hits": [_item(first + n * 7) for n in range(8)]}))
        reply.delay = SEARCH_MS[self.version] / 1000
        return reply

    def _stream(self, _request: Request, _number: int) -> Reply:
        reply = Reply(200, b"", "application/x-ndjson")
        reply.parts = [_json({"event": n, "item": _item(n)}) + b"\n" for n in range(STREAM_PARTS)]
        return reply

    def _get_report(self, _request: Request, _number: int) -> Reply:
        return Reply(200, self._report, "text/csv")

    @staticmethod
    def _build_report() -> bytes:
        """A CSV of more than 64 KB: larger than one super-packet's usual payload and one socket buffer's start."""
        rows = ["id,name,price_cents"]
        rows += [f"{n},{GOODS[n % len(GOODS)]},{100 + n * 37 % 9_900}" for n in range(5_000)]
        return ("\n".join(rows) + "\n").encode()


def _query(request: Request, name: str, default: str) -> str:
    return parse_qs(request.target.partition("?")[2]).get(name, [default])[0]


def _total(lines: list[dict[str, object]]) -> int:
    total = 0
    for line in lines:
        item, quantity = line["item"], line["quantity"]
        assert isinstance(item, dict)
        assert isinstance(quantity, int)
        total += item["price_cents"] * quantity
    return total
