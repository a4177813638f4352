"""Real WebSockets, captured: what both sides said is what wsproto reads of the same bytes, in the same order."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from shadowd.exchange.exchange import Exchange, Turn
from shadowd.protocols.websocket_events import as_event
from shadowd.protocols.websocket_frames import BINARY, TEXT, Message
from tests.unit.protocols.test_http1_corpus import CORPUS, conversations

CAPTURES = sorted(CORPUS.glob("*websocket*.pcap"))


def read(wire: bytes, masked: bool) -> list[tuple[int, bytes]]:
    """The messages of one direction, and what kind they are."""
    connection = Connection(ConnectionType.SERVER if masked else ConnectionType.CLIENT, [])
    connection.receive_data(wire)
    found: list[tuple[int, bytes]] = []
    message = b""
    for event in connection.events():
        if isinstance(event, (TextMessage, BytesMessage)):
            message += event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
            if event.message_finished:
                found.append((TEXT if isinstance(event, TextMessage) else BINARY, message))
                message = b""
    return found


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_capture(path: Path) -> None:
    talks = 0
    for conversation in conversations(path):
        handshakes = [one for one in conversation.exchanges if one.request.upgrade and one.response is not None]
        if not handshakes or conversation.midstream:
            continue
        talks += 1
        asked = handshakes[0]
        assert asked.response is not None
        client = bytes(conversation.wire[0][asked.request.end :])
        turns = [one for one in conversation.exchanges if one.request.turn is not None]
        said = [(message.kind, message.data) for one in turns for message in turn_of(one).messages]
        assert said == read(client, masked=bool(client[1] & 0x80))  # there is a client that does not
        assert not conversation.reasons
        heard = read(bytes(conversation.wire[1][asked.response.end :]), masked=False)
        for one in turns:
            turn = turn_of(one)
            count, body = turn.answers, one.response.body if one.response is not None else b""
            events = [as_event(Message(kind, data, 0, 0, 0), not turn.messages) for kind, data in heard[:count]]
            assert body.startswith(b"".join(events))
            assert body[len(b"".join(events)) :] == b"" or body.endswith(b"}\n\n"), "a Close, at most"
            del heard[:count]
        assert heard == []
    assert talks or "https" in path.stem, "no WebSocket was seen"


def turn_of(exchange: Exchange) -> Turn:
    assert exchange.request.turn is not None
    return exchange.request.turn
