"""The customers of ``shadowctl demo --websocket``: turns at a fixed rate, in conversations, every answer checked.

``python -m shadowd.demo.websocket_load --port P --rate R --connections N --seconds S`` prints what
``shadowd.demo.load`` does, and the ``conversations`` ended so far. ``sent`` counts turns and handshakes.

Turn *n* is due ``n / rate`` seconds after the start, whoever is free takes it, and waits for the whole answer. A
conversation is a connection: some turns, and an order, which is the last.

Error kinds are ``load``'s, and ``closed`` (the service closed), ``refused`` (no WebSocket, or it did not understand).
"""

from __future__ import annotations

import json
import random
import sys

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, RejectConnection, Request, TextMessage
from wsproto.utilities import RemoteProtocolError

from shadowd.demo.load import ANSWER_LIMIT, Broken, Job, Load
from shadowd.demo.load import main as ask
from shadowd.demo.shop import GOODS
from shadowd.demo.websocket_desk import ENDS

TURNS = 4  # of the shortest conversation; the longest has ``MORE`` more
MORE = 4


class Turn(Job):
    """What somebody wants to say when it is due. ``order``: if that is the last of the conversation."""

    __slots__ = ("order", "said")

    def __init__(self, dice: random.Random) -> None:
        super().__init__("GET", "/talk", 101)
        item = dice.randrange(1, 5_000)
        roll = dice.random()
        self.order: dict[str, object] = {"type": "order", "item": item}
        self.said: dict[str, object] = {"type": "price", "item": item}
        if roll < 0.35:
            self.said = {"type": "ask", "text": f"Is item {item} in stock?"}
        elif roll < 0.45:
            self.said = {"type": "find", "text": f"{GOODS[item % len(GOODS)]} {item % 300}"}


class Customer:
    """One connection's conversation. Its methods raise Broken, or what the stream raises."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._text = ""

    async def open(self) -> None:
        await self._say(Request(host="desk.demo", target="/talk"))
        if not any(isinstance(event, AcceptConnection) for event in await self._hear()):
            raise Broken("refused")

    async def ask(self, message: dict[str, object]) -> None:
        """Say it, and hear the whole answer."""
        await self._say(TextMessage(data=json.dumps(message)))
        kind = str(message["type"])
        tokens = 0
        while True:
            for answer in await self._messages():
                tokens += answer.get("type") == "token"
                if answer.get("type") == "error":
                    raise Broken("refused")
                if answer.get("type") == ENDS[kind]:
                    if answer.get("words", 0) != tokens:
                        raise Broken("length")
                    return

    async def close(self) -> None:
        """Say good-bye, and wait until the service has."""
        await self._say(CloseConnection(code=1000))
        while await self._stream.receive_some(65_536):
            pass

    async def _messages(self) -> list[dict[str, object]]:
        whole = []
        for event in await self._hear():
            if isinstance(event, CloseConnection):
                raise Broken("closed")
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    whole.append(json.loads(self._text))
                    self._text = ""
        return whole

    async def _hear(self) -> list[Event]:
        """At least one."""
        while True:
            data = await self._stream.receive_some(65_536)
            if not data:
                raise Broken("connection")
            try:
                self._protocol.receive_data(data)
                events = list(self._protocol.events())
            except (RemoteProtocolError, ValueError):
                raise Broken("framing") from None
            if any(isinstance(event, RejectConnection) for event in events):
                raise Broken("refused")
            if events:
                return events

    async def _say(self, event: Event) -> None:
        await self._stream.send_all(self._protocol.send(event))


class TalkLoad(Load):
    """The running load."""

    def __init__(self, port: int, rate: float, seconds: float) -> None:
        super().__init__(port, rate, seconds)
        self.conversations = self._begun_talks = 0

    def next_job(self, dice: random.Random) -> Job:
        return Turn(dice)

    def line(self) -> dict[str, object]:
        return {**super().line(), "conversations": self.conversations}

    async def converse(self, stream: trio.SocketStream) -> bool:
        """Hold one conversation, when somebody has something to say."""
        job = await self.next_due()
        if job is None:
            return True
        number, self._begun_talks = self._begun_talks, self._begun_talks + 1
        customer = Customer(stream)
        self.sent += 1
        with trio.fail_after(ANSWER_LIMIT):
            await customer.open()
        self.ok += 1
        for left in reversed(range(TURNS + number % (MORE + 1))):
            assert isinstance(job, Turn)
            self.sent += 1
            with trio.fail_after(ANSWER_LIMIT):
                await customer.ask(job.said if left else job.order)
            self.latencies.append(trio.current_time() - job.due)
            self.ok += 1
            job = await self.next_due() if left else job
            if job is None:
                break
        self.conversations += 1
        with trio.fail_after(ANSWER_LIMIT):
            await customer.close()
        return job is None


def main(arguments: list[str] | None = None) -> int:
    """As ``load``'s."""
    return ask(arguments, TalkLoad, "turns", "websocket_load")


if __name__ == "__main__":
    sys.exit(main())
