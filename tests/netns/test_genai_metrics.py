"""Generative AI on the metrics page of a real daemon, and the switch that leaves it out."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.netns.lab import Daemon, HttpClient, Server, free_port, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

ASKED = 12


def streamed(tokens: int) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
    chunks += [{"choices": [{"index": 0, "delta": {"content": "word "}}]} for _ in range(3)]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    data = [json.dumps({"model": "aria-2", **chunk}) for chunk in chunks]
    data.append(json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}}))
    body = b"".join(
        b"%x\r\n%s\r\n" % (len(event), event) for event in (f"data: {one}\n\n".encode() for one in [*data, "[DONE]"])
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"


class Chat:
    """A daemon with a door, and one prompt asked ASKED times."""

    def __init__(self, folder: Path, more: str) -> None:
        self.door = free_port()
        self.daemon = Daemon(folder, f'http = "127.0.0.1:{self.door}"\n{more}').start()
        self.production = Server(answer=lambda number, head, body: streamed(10))
        self.shadow = Server(answer=lambda number, head, body: streamed(20))
        self.daemon.add("chat", self.production.port, self.shadow.url, methods="POST")
        body = json.dumps({"model": "aria-2", "stream": True, "messages": [{"role": "user", "content": "hello"}]})
        client = HttpClient("127.0.0.1", self.production.port)
        for _ in range(ASKED):
            client.send(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += client.sock.recv(65536)
        client.close()
        self.daemon.settled("chat", lambda ledger: ledger["targets"][0]["mirrored"] == ASKED)

    def page(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.door, timeout=20)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(self.page())
            for sample in family.samples
        }

    def close(self) -> None:
        self.daemon.stop()
        self.production.close()
        self.shadow.close()


@pytest.fixture
def chat(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Chat]:
    made = Chat(tmp_path, getattr(request, "param", ""))
    yield made
    made.close()


def test_both_sides_are_measured(chat: Chat) -> None:
    common = {
        "filter": "chat", "target": chat.shadow.url, "gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "aria-2",
    }  # fmt: skip

    def value(name: str, **labels: str) -> float | None:
        return chat.values().get((name, frozenset({**common, **labels}.items())))

    tokens = "shadowd_gen_ai_client_token_usage_tokens"
    wait_for("all are compared", lambda: value(f"{tokens}_count", side="shadow", gen_ai_token_type="output") == ASKED)
    assert value(f"{tokens}_sum", side="production", gen_ai_token_type="output") == 10 * ASKED
    assert value(f"{tokens}_sum", side="shadow", gen_ai_token_type="output") == 20 * ASKED
    assert value(f"{tokens}_sum", side="shadow", gen_ai_token_type="input") == 7 * ASKED
    durations = "shadowd_gen_ai_client_operation_duration_seconds"
    assert value(f"{durations}_count", side="production", gen_ai_response_finish_reasons="stop") == ASKED
    for what in ("client_operation_time_to_first_chunk", "server_time_to_first_token"):
        name = f"shadowd_gen_ai_{what}_seconds"
        assert value(f"{name}_count", side="production") == ASKED
        assert (value(f"{name}_count", side="shadow") or 0) > 0, name
        assert (value(f"{name}_sum", side="production") or 0) > 0
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=chat.page(), capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == ""


@pytest.mark.parametrize("chat", ["genai_metrics = false\n"], indirect=True)
def test_a_switch_leaves_them_out(chat: Chat) -> None:
    assert "shadowd_requests_seen_total" in chat.page()
    assert "gen_ai" not in chat.page()
