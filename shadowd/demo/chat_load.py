"""The applications of ``shadowctl demo --ai``: conversations at a fixed rate, tools asked, every answer checked.

``python -m shadowd.demo.chat_load --port P --weather W --rate R --connections N --seconds S`` prints what
``shadowd.demo.load`` does, and the ``conversations`` ended so far. ``sent`` counts requests to the model: a
conversation with a tool call has two. The latency of the first counts from when it was due, of the second from when it
was sent.

An answer is right if its status is 200 and it is whole: JSON, or a stream with its vendor's terminator.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import deque
from urllib.parse import urlencode

import trio

from shadowd.demo.chat_prompts import Conversation, ToolCall, look_up, next_conversation
from shadowd.demo.load import AnswerReader, Broken, Job, Load, drive

TURNS = 4  # requests of one conversation at most: ours need two, a model that calls tools for ever is an error


class Chatter(Job):
    """A conversation that is due."""

    __slots__ = ("conversation",)

    def __init__(self, conversation: Conversation) -> None:
        super().__init__("POST", conversation.path, 200, conversation.wire())
        self.conversation = conversation


#: Idle connections to the weather API before one is used again: what only one of them showed would tell of one server.
POOL = 8


class ChatLoad(Load):
    """The running load. Connections to the weather API are a pool, used in turn."""

    def __init__(self, port: int, weather: int, rate: float, seconds: float) -> None:
        super().__init__(port, rate, seconds)
        self.weather = weather
        self.conversations = 0
        self._idle: deque[tuple[trio.SocketStream, AnswerReader]] = deque()

    def next_job(self, dice: random.Random) -> Job:
        return Chatter(next_conversation(dice))

    def line(self) -> dict[str, object]:
        return {**super().line(), "conversations": self.conversations}

    async def run(self, connections: int, seed: int = 1) -> None:
        await super().run(connections, seed)
        for stream, _ in self._idle:
            await stream.aclose()

    async def serve_job(self, job: Job, stream: trio.SocketStream, reader: AnswerReader, last: bool) -> None:
        """The whole conversation. ``last`` needs no word to the server: we close."""
        assert isinstance(job, Chatter)
        for _ in range(TURNS):
            self.sent += 1
            await stream.send_all(job.wire)
            status, _length = await reader.answer(head_only=False)
            self.latencies.append(trio.current_time() - job.due)
            if status != 200:
                raise Broken("status")
            try:
                call = job.conversation.answered(bytes(reader.body))
            except ValueError:
                raise Broken("length") from None
            if not reader.idle():
                raise Broken("length")
            self.ok += 1
            if call is None:
                self.conversations += 1
                return
            job.conversation.ask_again(call, await self._result(call))
            job = Chatter(job.conversation)
            job.due = trio.current_time()
        raise Broken("turns")

    async def _result(self, call: ToolCall) -> str:
        """What the tool says; an error of the weather API is one of ours. Raises Broken."""
        if call.name != "get_weather":
            return look_up(call.arguments)
        if len(self._idle) >= POOL:
            stream, reader = self._idle.popleft()
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", self.weather)
            reader = AnswerReader(stream)
        ask = Job("GET", "/v1/current?" + urlencode(call.arguments), 200)
        try:
            await stream.send_all(ask.wire)
            status, _length = await reader.answer(head_only=False)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._idle.append((stream, reader))
        if status != ask.status:
            raise Broken("status")
        return reader.body.decode()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if every answer was right, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m shadowd.demo.chat_load", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True, help="loopback port of the model")
    parser.add_argument("--weather", type=int, required=True, help="loopback port of the weather API")
    parser.add_argument("--rate", type=float, default=33.0, help="conversations per second (default 33)")
    parser.add_argument("--connections", type=int, default=24, help="connections (default 24)")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long (default 90)")
    options = parser.parse_args(arguments)
    if not (0 < options.rate <= 10_000 and 1 <= options.connections <= 1_000 and options.seconds > 0):
        parser.error("--rate must be 1 to 10000, --connections 1 to 1000, --seconds positive")
    load = ChatLoad(options.port, options.weather, options.rate, options.seconds)
    trio.run(drive, load, options.connections)
    return 1 if load.errors or not load.ok else 0


if __name__ == "__main__":
    sys.exit(main())
