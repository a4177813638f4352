"""The package where systemd is PID 1, from install to purge: run in the guest of ``service.py``, by root.

Standard library only. Prints a JSON object a line (``step``, ``ok``, ``seconds``, ``detail``); then the guest is off.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LIMIT = 300.0  # seconds for one thing to happen on an emulated processor
WRONG = Path("/etc/shadowd/conf.d/wrong.toml")
#: An operator's own drop-in, there before the package. The guard would shed: an emulated processor is always busy.
OWN = Path("/etc/shadowd/conf.d/guest.toml")
ADDED = Path("/etc/systemd/system/shadowd-tls.service.d/rights.conf")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


def sh(*command: str, check: bool = True) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, env=environment, errors="replace"
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr + done.stdout)[-1500:]}")
    return (done.stdout + ("" if check else done.stderr)).strip()


def property_of(name: str) -> str:
    return sh("systemctl", "show", "-p", name, "--value", "shadowd")


def wait_for(what: str, condition: Any) -> Any:
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > end:
            raise RuntimeError(
                f"not in {LIMIT:.0f} s: {what}; {sh('systemctl', 'status', 'shadowd', check=False)[-1500:]}"
            )
        time.sleep(0.5)
    return value


def active() -> str:
    wait_for("the service is active", lambda: property_of("ActiveState") == "active")
    return f"{property_of('StatusText')} (MainPID {property_of('MainPID')})"


def install() -> str:
    OWN.parent.mkdir(parents=True)
    OWN.write_text('cpu_guard = "off"\ncpu_max = "10000%"\n')
    (package,) = Path("/root").glob("shadowd_*.deb")
    sh("apt-get", "install", "-y", str(package))
    if sh("systemctl", "is-enabled", "shadowd") != "enabled":
        raise RuntimeError("it is not enabled")
    return active()


def least_privilege() -> str:
    pid = property_of("MainPID")
    told = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if lines["Uid"].split()[0] == "0" or lines["NoNewPrivs"].strip() != "1":
            raise RuntimeError(f"uid {lines['Uid']}, no new privileges {lines['NoNewPrivs']}")
        told = {name: int(lines[name].strip(), 16) for name in ("CapEff", "CapPrm", "CapBnd")}
        # CAP_NET_ADMIN is 12, CAP_PERFMON 38, CAP_BPF 39 (kept before 5.19, see docs/operations.md)
        if told["CapEff"] & ~(1 << 12 | 1 << 39):
            raise RuntimeError(f"it holds {told}")
    return f"CapEff {told['CapEff']:x}"


def mirrored(hook: str, *more: str) -> str:
    """``more``: words of ``filter add``; with some, production speaks TLS."""
    server, shadow = TLS_SERVER if more else SERVERS[0], SERVERS[1]
    port, scheme, context = server.server_address[1], "https" if more else "http", None
    if more:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sh("shadowctl", "filter", "rm", "shop", check=False)
    sh("shadowctl", "filter", "add", "shop", "--hook", hook, "--port", str(port), "--to",
       f"http://127.0.0.1:{shadow.server_address[1]}", "--twin", "0", *more)  # fmt: skip
    for _ in range(20):
        urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/", timeout=LIMIT, context=context).read()

    end = time.monotonic() + LIMIT / 3
    while True:
        ledger = json.loads(sh("shadowctl", "ledger", "shop", "--json"))["filters"][0]
        if ledger["targets"][0]["mirrored"] == 20 and ledger["balanced"]:
            return "20 of 20"
        if time.monotonic() > end:
            raise RuntimeError(f"not mirrored: {ledger}; {sh('shadowctl', 'status', check=False)}")
        time.sleep(1)


def tls() -> str:
    """The attacher as a unit of its own: its rights are enough, and the daemon's stay as they are."""
    early = ["shadowctl", "filter", "add", "early", "--port", "4433", "--to", "http://127.0.0.1:1", "--tls", "decrypt"]
    refused = sh(*early, check=False)
    if "shadowd-tls" not in refused:
        raise RuntimeError(f"without the unit it says: {refused}")
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6):  # as docs/operations.md says
        ADDED.parent.mkdir()
        ADDED.write_text("[Service]\nAmbientCapabilities=CAP_SYS_ADMIN\nCapabilityBoundingSet=CAP_SYS_ADMIN\n")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "enable", "--now", "shadowd-tls")
    serve_tls()
    told = mirrored("socket", "--tls", "decrypt")
    rights = least_privilege()
    sh("systemctl", "stop", "shadowd-tls")  # it stays enabled: the purge is to take that away
    wait_for("the daemon says that nobody reads it now", lambda: "shadowd-tls" in sh("shadowctl", "status"))
    return f"{told}; the daemon: {rights}"


def serve_tls() -> None:
    folder = Path("/root/certificate")
    folder.mkdir()
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
       "-keyout", str(folder / "key"), "-out", str(folder / "chain"))  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain", folder / "key")
    TLS_SERVER.socket = context.wrap_socket(TLS_SERVER.socket, server_side=True)
    threading.Thread(target=TLS_SERVER.serve_forever, daemon=True).start()


def reload() -> str:
    sh("systemctl", "reload", "shadowd")
    WRONG.write_text("nonsense = 1\n")
    if (
        subprocess.run(["systemctl", "reload", "shadowd"], capture_output=True, timeout=LIMIT, check=False).returncode
        == 0
    ):
        raise RuntimeError("a reload of a wrong configuration is said to have worked")
    if property_of("ActiveState") != "active":
        raise RuntimeError("a wrong configuration ended the service")
    WRONG.unlink()
    sh("systemctl", "reload", "shadowd")
    return active()


def watchdog() -> str:
    pid = int(property_of("MainPID"))
    begun = time.monotonic()
    os.kill(pid, signal.SIGSTOP)  # a pump that stands still
    wait_for("the watchdog restarts it", lambda: property_of("MainPID") not in (str(pid), "0"))
    took = time.monotonic() - begun
    active()
    if "shop" not in sh("shadowctl", "filter", "ls"):
        raise RuntimeError("the filter is gone after the restart")
    return f"restarted after {took:.0f} s, {property_of('NRestarts')} restarts, the filter is there"


def stop_and_start() -> str:
    sh("systemctl", "stop", "shadowd")
    if property_of("Result") != "success":
        raise RuntimeError(f"it ended with {property_of('Result')}")
    if Path("/run/shadowd").exists():
        raise RuntimeError("/run/shadowd is left")
    sh("systemctl", "start", "shadowd")
    return active()


def upgrade() -> str:
    (package,) = Path("/root").glob("shadowd_*.deb")
    sh("apt-get", "install", "-y", "--reinstall", str(package))
    active()
    if "shop" not in sh("shadowctl", "filter", "ls"):
        raise RuntimeError("the filter is gone after the upgrade")
    return "filters are kept"


def purge() -> str:
    OWN.unlink()
    shutil.rmtree("/etc/systemd/system/shadowd.service.d")  # an operator's too: the guest's time limits (service.py)
    shutil.rmtree(ADDED.parent, ignore_errors=True)
    sh("apt-get", "purge", "-y", "shadowd")
    left = sh("find", "/", "-xdev", "-iname", "*shadowd*", "-not", "-path", "/root/*", "-not", "-path", "/proc/*",
              "-not", "-path", "/sys/*", "-not", "-path", "/var/log/*", "-not", "-path", "/var/lib/apt/*")  # fmt: skip
    people = [name for name in ("passwd", "group") if sh("getent", name, "shadowd", check=False)]
    if left or people:
        raise RuntimeError(f"left behind: {left} {people}")
    return "nothing is left"


SERVERS = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
TLS_SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
STEPS = (
    ("install", install),
    ("least privilege", least_privilege),
    ("socket hook", lambda: mirrored("socket")),
    ("tc hook", lambda: mirrored("tc:lo")),
    ("TLS", tls),
    ("reload", reload),
    ("watchdog", watchdog),
    ("stop, start", stop_and_start),
    ("upgrade", upgrade),
    ("purge", purge),
)


def main() -> int:
    for server in SERVERS:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    good = True
    for name, run in STEPS:
        begun = time.monotonic()
        try:
            detail, ok = run(), True
        except Exception as error:  # whatever it is: it is what is to be told
            log = sh("journalctl", "-u", "shadowd", "--no-pager", "-n", "15", "-o", "cat", check=False)
            detail, ok = f"{error}; log: {log}"[-3000:], False
        good = good and ok
        print(json.dumps({"step": name, "ok": ok, "seconds": round(time.monotonic() - begun, 1), "detail": detail}),
              flush=True)  # fmt: skip
        if not ok and name == "install":
            break
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
