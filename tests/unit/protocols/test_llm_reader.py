"""How an answer is read is found by looking: whatever it is called, however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols.llm import Ask, Message, Reader

LABELS = ["text/event-stream", "text/plain; charset=utf-8", "application/octet-stream", "application/json", "",
          "application/x-ndjson"]  # fmt: skip
CHUNKS = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Hel", "lo")]
STREAM = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in CHUNKS) + b"data: [DONE]\n\n"
WHOLE = json.dumps({"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()
LINES = [{"message": {"content": "Hel"}, "done": False}, {"message": {"content": "lo"}, "done": False},
         {"done": True, "done_reason": "stop"}]  # fmt: skip
NDJSON = b"".join(json.dumps(one).encode() + b"\n" for one in LINES)


def read(api: str, body: bytes, label: str, step: int = 1 << 20, stream: bool = True) -> tuple[Message, Reader]:
    reader = Reader(Ask(api, "", "", {}, None, stream), label, 200)
    for time, at in enumerate(range(0, len(body), step)):
        reader.feed_untrusted(body[at : at + step], time)
    return reader.finish(True), reader


BEGINNINGS = [b"", b"\n", b"\xef\xbb\xbf", b": hello\n\n", b"event: x\n", b"id: 1\n", b"retry: 5\n"]


@given(st.sampled_from(LABELS), st.integers(1, 40), st.sampled_from(BEGINNINGS))
def test_a_stream_of_events_under_any_name(label: str, step: int, before: bytes) -> None:
    message, reader = read("chat", before + STREAM, label, step)
    assert (message.text, message.outcome, reader.streamed, reader.kind) == (
        "Hello",
        "whole",
        True,
        "text/event-stream",
    )


@given(
    st.sampled_from(LABELS[:-1]), st.integers(1, 40), st.booleans(), st.sampled_from([b"", b"\n", b" \r\n", b"\n\n"])
)
def test_an_answer_in_one_piece_under_any_name(label: str, step: int, stream: bool, after: bytes) -> None:
    for body in (WHOLE, json.dumps(json.loads(WHOLE), indent=1).encode()):
        message, reader = read("chat", b"\n " + body + after, label, step, stream)
        assert (message.text, message.outcome, reader.streamed) == ("Hello", "whole", False)
        assert reader.first_content == reader.first_byte


@given(st.sampled_from(LABELS), st.integers(1, 40), st.booleans())
def test_lines_of_json_under_any_name(label: str, step: int, mark: bool) -> None:
    message, reader = read("ollama", b"\xef\xbb\xbf" * mark + NDJSON, label, step)
    assert (message.text, message.outcome, message.finish_reason) == ("Hello", "whole", "stop")
    assert (reader.streamed, reader.kind) == (True, "application/x-ndjson")


def test_lines_have_the_times_at_which_they_came() -> None:
    reader = Reader(Ask("ollama", "", "", {}, None, True), "application/json", 200)
    for time, line in enumerate(NDJSON.splitlines(keepends=True)):
        reader.feed_untrusted(line, time)
    assert reader.finish(True).text == "Hello"
    assert (reader.first_content, reader.event_times) == (0, [0, 1, 2])


def test_one_line_is_an_answer_in_one_piece() -> None:
    line = {"message": {"content": "Hello"}, "done": True, "done_reason": "stop"}
    message, reader = read("ollama", json.dumps(line).encode() + b"\n", "application/json")
    assert (message.text, message.outcome, reader.streamed) == ("Hello", "whole", False)


@pytest.mark.parametrize("label", LABELS)
def test_what_is_neither(label: str) -> None:
    message, _ = read("chat", b"<html>no</html>", label)
    assert message.outcome in ("error", "cut")
    assert message.text == ""
    message, _ = read("chat", b"", label)
    assert message.outcome in ("error", "cut")
    message, _ = read("chat", b"da", label)
    assert message.outcome in ("error", "cut")


def test_an_error_told_in_json_where_a_stream_was_to_come() -> None:
    message, _ = read("chat", b'{"error": {"type": "overloaded", "message": "later"}}', "text/event-stream")
    assert (message.outcome, message.error) == ("error", "overloaded: later")


def test_half_a_json_text_that_still_goes_on_is_open() -> None:
    reader = Reader(Ask("chat", "", "", {}, None, False), "application/json", 200)
    reader.feed_untrusted(WHOLE[:30], 1)
    assert reader.finish(False).outcome == "open"


def test_events_that_are_no_json_are_counted() -> None:
    message, _ = read("chat", b"data: {\n\n" + STREAM, "text/event-stream")
    assert (message.broken, message.text) == (1, "Hello")
