"""TLS of which something is missing: the ring overflows, packets are lost on the way.

What is read is right, what is not is counted, and reading goes on.
"""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import need
from tests.faults.test_ring import BODY, RING, Uploads
from tests.netns.lab import Server, in_namespace, namespaces, ok, running, sh, wait_for
from tests.netns.test_mirror import unmarked
from tests.netns.test_tls import VERSIONS, TlsClient, TlsServer, post, told
from tests.unit.certificates import Certificate

pytestmark = pytest.mark.usefixtures("root_user")


def server(certificate: Certificate, log: Path, version: str) -> TlsServer:
    context = certificate.server()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.keylog_filename = str(log)
    return TlsServer(context, log, answer=lambda number, head, body: ok(b"%d" % len(body)))


def briefly(context: ssl.SSLContext, port: int, count: int) -> None:
    """So many connections of one request each."""
    for number in range(count):
        client = TlsClient(context, port)
        client.get(f"/brief/{number}")
        client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_ring(tmp_path: Path, certificate: Certificate, version: str) -> None:
    """Records of open connections find no room, nor do the secrets of those that are made then."""
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    production, shadow = server(certificate, tmp_path / "keys", version), Server()
    context = certificate.client()
    with running(tmp_path / "d", f"ring_bytes = {RING}\ndead_man_seconds = 60\n") as daemon:
        daemon.add(
            "shop",
            production.port,
            shadow.url,
            methods="any",
            preserve_host=True,
            tls="decrypt",
            max_lag=3600,
            timeout=60,
        )
        uploads = Uploads(production.port, 4, lambda: TlsClient(context, production.port))
        uploads.more(40)
        before = wait_for("some are mirrored", lambda: _mirrored(daemon.ledger("shop")) > 20 and daemon.ledger("shop"))
        assert not before["lost"]
        daemon.halt()
        uploads.more(2 * RING // (BODY // 2))  # twice what the ring holds
        briefly(context, production.port, 20)
        daemon.go_on()
        wait_for(
            "open connections are read behind the hole",
            lambda: _mirrored(daemon.ledger("shop")) >= _mirrored(before) + 50,
        )
        uploads.more(40)
        uploads.stop()
        briefly(context, production.port, 10)
        ledger = daemon.settled("shop")
        kernel = ledger["kernel"]
        assert kernel["ring_full_bytes"] > RING // 2, "several workers have a ring each"
        assert kernel["lost"]["ring_full"] == kernel["ring_full_bytes"]
        assert kernel["secrets_lost"] >= 20, "those of the connections that were made meanwhile"
        assert set(ledger["lost"]) <= {"gap", "ring_full", "tls_no_key", "tls_midstream", "tls_undecryptable"}
        assert ledger["lost"]["gap"] >= 4, "each connection lost a part of its stream, and says so"
        # whatever reached the shadow is one whole request of production's, unchanged, and no request came twice
        sent, replayed = Counter(production.requests), Counter(unmarked(request) for request in shadow.requests)
        assert replayed <= sent
        assert len(shadow.requests) == ledger["targets"][0]["mirrored"]
        assert [line for line, _ in told(shadow.requests)].count(b"GET /brief/9 HTTP/1.1") >= 1, "new ones are read"
    production.close()
    shadow.close()


def _mirrored(ledger: dict[str, object]) -> int:
    targets = ledger["targets"]
    assert isinstance(targets, list)
    return int(targets[0]["mirrored"])


@pytest.mark.parametrize("version", VERSIONS)
def test_packets_that_are_lost_and_sent_again(tmp_path: Path, certificate: Certificate, version: str) -> None:
    """A twentieth of them: what follows one is captured before it. Nothing is missing in the end."""
    need(shutil.which("iptables") is not None, "needs iptables")
    with namespaces("loss") as (space,), running(tmp_path / "d", namespace=space) as daemon:
        with in_namespace(space):
            production, shadow = server(certificate, tmp_path / "keys", version), Server()
        for way in ("--dport", "--sport"):
            rule = [
                "-p",
                "tcp",
                way,
                str(production.port),
                "-m",
                "statistic",
                "--mode",
                "random",
                "--probability",
                "0.05",
            ]
            sh("ip", "netns", "exec", space, "iptables", "-A", "INPUT", *rule, "-j", "DROP")
        daemon.add("shop", production.port, shadow.url, methods="any", tls_keylog=str(production.log), max_lag=3600)
        context, errors = certificate.client(), []

        def ask(number: int) -> None:
            try:
                with in_namespace(space):
                    client = TlsClient(context, production.port)
                for turn in range(10):
                    post(client, f"/{number}/{turn}", os.urandom(turn * 5000))
                client.close()
            except (OSError, AssertionError) as error:
                errors.append(repr(error))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert errors == []
        ledger = daemon.settled("shop", lambda found: found["seen"] == 100, 60)
        assert ledger["targets"][0]["mirrored"] == 100, ledger
        assert not ledger["lost"]
        assert told(shadow.requests) == told(production.requests)
        assert ledger["kernel"]["duplicate"] > 0, "packets were sent again"
    production.close()
    shadow.close()
