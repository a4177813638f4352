"""What a WebSocket's server said, as events."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols.websocket_events import as_event, measured
from shadowd.protocols.websocket_frames import BINARY, CLOSE, MAX_MESSAGE, TEXT, Message

_LINES = re.compile(rb"\r\n|\n|\r")


@given(st.text("\r\na", max_size=12))
def test_every_line_of_a_text_is_a_line_of_its_event(text: str) -> None:
    """HTML, "Event stream interpretation": what ends a line there."""
    data = text.encode()
    expected = b"".join(b"data: " + line + b"\n" for line in _LINES.split(data)) + b"\n"
    assert as_event(Message(TEXT, data, 0, 0, 0)) == expected


@pytest.mark.parametrize("kind", [TEXT, BINARY, CLOSE])
@pytest.mark.parametrize("data", [b"", b"\x03\xe8bye", b'{"type": "news",\r\n"of": 1}'])
def test_what_finds_no_room_is_as_long_as_it_would_be(kind: int, data: bytes) -> None:
    message = Message(kind, data, 0, 0, 0)
    event, length = measured(message)
    assert len(event) == length
    assert measured(message, room=length) == (event, length)
    assert measured(message, room=length - 1) == (b"", length)


def test_a_message_of_nothing_but_line_ends() -> None:
    """16 KB deflated; line by line it took seven seconds and two gigabytes."""
    assert measured(Message(TEXT, b"\n" * MAX_MESSAGE, 0, 0, 0), room=1 << 20) == (b"", 7 * MAX_MESSAGE + 8)
