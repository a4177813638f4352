"""The services of ``shadowctl demo --ai``: a chat model behind two vendors' APIs, and the weather API its tool calls.

``python -m shadowd.demo.chat --version 1|2`` serves the model, with ``--weather`` the third party's API; both on
loopback until SIGTERM, and both print ``listening on 127.0.0.1:P`` once they accept connections.

A streamed answer begins as real ones do: the head and the event that opens the message come at once, the first token
when the model has read the prompt, the others a few milliseconds apart, every time with noise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from urllib.parse import parse_qs

from shadowd.demo.chat_model import SLOWER, Model
from shadowd.demo.chat_wire import VENDORS, BadChat, OpenAI, Piece, body_untrusted, encoded
from shadowd.demo.service import serve
from shadowd.demo.shop import Reply, Request

ADMISSION = 0.010  # seconds to the head of a streamed answer, for both versions
FIRST_TOKEN = (
    0.080  # seconds from the request to the first token: planted slowness is 24 ms, far above loopback's jitter
)
NEXT_TOKEN = 0.003  # seconds between tokens: 300 a second, and an answer takes a fifth of a second
FIRST_SPREAD, NEXT_SPREAD = 0.15, 0.5  # of the noise, as standard deviations of the times' logarithm
WEATHER_DELAY = 0.004  # seconds of the third party
SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy")
PLANTED_WEATHER = "the weather API's next version gives wind in m/s where the old one gives km/h"


class Chat:
    """One version of the model, answering over HTTP; ``seed`` makes its sampling repeatable."""

    def __init__(self, version: int, seed: int | None = None) -> None:
        self.requests = 0
        self._dice = random.Random(seed)
        self._model = Model(version, self._dice)

    def answer(self, request: Request) -> Reply:
        """The reply to a request; bad ones get the vendor's own error object."""
        self.requests += 1
        vendor = VENDORS.get(request.target.partition("?")[0])
        if vendor is None:
            return Reply(404, encoded(OpenAI.error("no such resource — try /v1/chat/completions or /v1/messages")))
        if request.method != "POST":
            refusal = Reply(405, encoded(vendor.error("method not allowed — POST a conversation")))
            refusal.headers["Allow"] = "POST"
            return refusal
        try:
            body = body_untrusted(request.body)
            ask = vendor.ask_untrusted(body)
        except BadChat as error:
            return Reply(400, encoded(vendor.error(str(error))))
        said = self._model.answer(ask)
        first = self._model.pause(FIRST_TOKEN * SLOWER[self._model.version], FIRST_SPREAD)
        identity = f"{self._dice.getrandbits(96):024x}"
        if body.get("stream") is True:
            return self._streamed(list(vendor.stream(ask, said, identity, body)), first)
        reply = Reply(200, encoded(vendor.whole(ask, said, identity)))
        reply.delay = first + sum(self._model.pause(NEXT_TOKEN, NEXT_SPREAD) for _ in range(said.tokens))
        return reply

    def _streamed(self, pieces: list[Piece], first: float) -> Reply:
        """What opens the message goes out at once, what closes it with the last token."""
        reply = Reply(200, b"", "text/event-stream; charset=utf-8")
        reply.delay = ADMISSION
        parts: list[bytes] = []
        waiting = b""
        for piece in pieces:
            if piece.content and not parts:
                parts.append(waiting)
                waiting = b""
            waiting += piece.data
            if piece.content:
                parts.append(waiting)
                waiting = b""
        if parts:
            parts[-1] += waiting
        reply.parts = parts or [waiting]
        gaps = [self._model.pause(NEXT_TOKEN, NEXT_SPREAD) for _ in parts[2:]]
        reply.pauses = iter([max(0.0, first - ADMISSION), *gaps])
        return reply


class Weather:
    """The third party: ``GET /v1/current?city=C&unit=celsius|fahrenheit``, a pure function of the city."""

    def __init__(self, version: int) -> None:
        self.requests = 0
        self._version = version

    def answer(self, request: Request) -> Reply:
        self.requests += 1
        path, _, query = request.target.partition("?")
        wanted = {name: values[0] for name, values in parse_qs(query).items()}
        if path != "/v1/current" or request.method not in ("GET", "HEAD") or not wanted.get("city"):
            return Reply(404, encoded({"error": "try GET /v1/current?city=Lisbon&unit=celsius"}))
        city, unit = wanted["city"][:100], wanted.get("unit", "celsius")
        number = sum(city.encode())
        celsius, wind = number % 30, 5 + number % 20
        reply = Reply(
            200,
            encoded(
                {
                    "city": city,
                    "unit": unit,
                    "temperature": celsius if unit == "celsius" else celsius * 9 // 5 + 32,
                    "sky": SKIES[number % len(SKIES)],
                    "wind": wind if self._version == 1 else round(wind / 3.6, 1),
                }
            ),
        )
        reply.delay = WEATHER_DELAY
        return reply


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowd.demo.chat", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="loopback port, 0 for any free one (default)")
    parser.add_argument("--version", type=int, choices=(1, 2), default=1, help="2 has the planted faults")
    parser.add_argument("--weather", action="store_true", help="serve the weather API instead of the model")
    parser.add_argument("--seed", type=int, default=None, help="make the model's sampling repeatable")
    options = parser.parse_args(arguments)
    answers = Weather(options.version) if options.weather else Chat(options.version, options.seed)
    try:
        asyncio.run(serve(options.port, answers))
    except OSError as error:
        parser.exit(1, f"cannot listen on 127.0.0.1:{options.port}: {error.strerror} — choose another --port\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
