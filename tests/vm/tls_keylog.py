"""TLS by a key log, in one script: `python -m tests.vm.tls_keylog` (root; prebuilt programs).

What kernels without the probes of ``tls_probes`` can do: a Python server writes its key log, the daemon follows it, and
the shadow must get what production was asked. Prints one JSON object as ``acceptance.py`` does.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from shadowd.control.client import Client
from shadowd.errors import ShadowdError
from tests.vm.acceptance import LIMIT, ROOT, Service, sh

CONNECTIONS, REQUESTS = 10, 3


def wait_until(what: str, limit: float, holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {limit:.0f} s: {what}")
        time.sleep(0.2)


def ask(folder: Path, production: Service, shadow: Service) -> dict[str, object]:
    """Requests over TLS 1.2 and 1.3, each kind on its own connections."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        asking = ssl.create_default_context(cafile=str(folder / "certificate"))
        asking.check_hostname = False
        asking.minimum_version = asking.maximum_version = version
        for number in range(CONNECTIONS):
            client = http.client.HTTPSConnection(
                "127.0.0.1", production.server_address[1], context=asking, timeout=LIMIT
            )
            for turn in range(REQUESTS):
                client.request("POST", f"/{version.name}/{number}/{turn}", b"x" * 2000 * turn)
                client.getresponse().read()
            client.close()
    wait_until("the shadow has it all", LIMIT, lambda: len(shadow.seen) >= len(production.seen))
    assert sorted(shadow.seen) == sorted(production.seen), "the shadow got something else"
    return {"requests": len(shadow.seen)}


def try_it(folder: Path) -> dict[str, object]:
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
       "-subj", "/CN=a", "-keyout", str(folder / "key"), "-out", str(folder / "certificate"))  # fmt: skip
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "certificate", folder / "key")
    serving.keylog_filename = str(folder / "keys")
    production, shadow = Service(), Service()
    production.socket = serving.wrap_socket(production.socket, server_side=True)
    for server in (production, shadow):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "shadowd.toml").write_text('loader = "prebuilt"\nhttp = ""\ncpu_guard = "off"\ncpu_max = "10000%"\n')
    words = ["run", "--config", str(folder / "shadowd.toml"), "--socket", str(folder / "s")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "shadowd.cli.shadowd", *words, "--state-dir", str(folder / "state")],
            cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        client = Client(folder / "s", timeout=LIMIT)

        def ready() -> bool:
            if daemon.poll() is not None:
                raise RuntimeError(f"the daemon ended: {(folder / 'log').read_text()[-1500:]}")
            try:
                client.call("status")
            except ShadowdError:
                return False
            return True

        wait_until("the daemon is ready", LIMIT, ready)
        to = f"http://127.0.0.1:{shadow.server_address[1]}"
        spec = {"name": "tls", "ports": [str(production.server_address[1])], "to": to, "methods": "any", "twin": 0}
        spec |= {"timeout": 120, "max_lag": 120, "tls_keylog": str(folder / "keys")}
        client.call("filter.add", spec=spec)
        found = ask(folder, production, shadow)
        ledger = client.call("ledger", name="tls")["filters"][0]
        assert ledger["balanced"], ledger
        assert not ledger["lost"], ledger
        client.close()
        return found
    finally:
        daemon.terminate()
        daemon.wait(LIMIT)


if __name__ == "__main__":
    begun = time.monotonic()
    detail: object
    try:
        with tempfile.TemporaryDirectory() as made:
            detail, ok = try_it(Path(made)), True
    except Exception as error:  # whatever it is: it is what is to be told
        detail, ok = f"{type(error).__name__}: {error}"[-3000:], False
    seconds = round(time.monotonic() - begun, 2)
    print(json.dumps({"step": "TLS key log", "ok": ok, "seconds": seconds, "detail": detail}), flush=True)
    sys.exit(not ok)
