"""What shadowd must do on any host, in one script: `python3 tests/vm/acceptance.py [--loader prebuilt] [SHADOWD]`.

Runs on the host itself, in a qemu guest (`make test-kernels`) and in the machines of ``vagrant/``. It needs root, `ip`,
the kernel's veth, and nothing but the standard library: a production service, its shadow and the clients are made here.
For each hook, over both IP versions: every request of real TCP connections must reach the shadow with the bytes that
production got, big and small, the ledger must balance, and nothing of it may stay in the kernel afterwards.

Prints a JSON object a line (``step``, ``ok``, ``seconds``, ``detail``), and ends with 0 if all were ok.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SPACE, INSIDE, OUTSIDE = f"shadowd-{os.getpid()}", f"sa{os.getpid() % 100000}", f"sb{os.getpid() % 100000}"
V4, V6 = "198.18.77", "fd77:77::"  # RFC 2544's test network, and a local one
SMALL, LARGE = 40, 6  # requests of each kind on a hook
LARGE_BODY = bytes(range(256)) * 1200  # 300 KB: many super-packets
#: The service that is waited for on an emulated processor: a hundred times what a machine takes.
LIMIT = float(os.environ.get("SHADOWD_ACCEPTANCE_LIMIT", "300"))


class Service(ThreadingHTTPServer):
    """Answers what it was sent, and remembers a digest of each request."""

    daemon_threads = True
    address_family = socket.AF_INET6  # and IPv4, mapped

    def __init__(self) -> None:
        self.seen: list[str] = []
        super().__init__(("::", 0), Handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, Service)
        self.server.seen.append(hashlib.sha256(f"{self.command} {self.path} ".encode() + body).hexdigest())
        answer = json.dumps({"path": self.path, "length": len(body)}).encode() + b" " * (len(body) // 4)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: object) -> None:
        pass


def sh(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def client(host: str, port: int) -> None:
    """Run inside the namespace: SMALL requests on four connections, LARGE ones on one."""
    connections = [http.client.HTTPConnection(host, port, timeout=LIMIT) for _ in range(4)]
    for number in range(SMALL):
        connection = connections[number % 4]
        connection.request("GET", f"/small/{number}")
        answer = json.loads(connection.getresponse().read())
        if answer != {"path": f"/small/{number}", "length": 0}:
            raise RuntimeError(f"production answered {answer}")
    for number in range(LARGE):
        connections[0].request("POST", f"/large/{number}", LARGE_BODY)
        answer = json.loads(connections[0].getresponse().read())
        if answer["length"] != len(LARGE_BODY):
            raise RuntimeError(f"production got {answer['length']} bytes")
    for connection in connections:
        connection.close()


class Acceptance:
    def __init__(self, program: list[str], control: list[str], loader: str) -> None:
        self.program, self.control = program, control
        self.folder = Path(tempfile.mkdtemp(prefix="shadowd-acceptance."))
        self.folder.chmod(0o755)
        self.loader = loader
        self.ok = True
        self.production, self.shadow = Service(), Service()
        for service in (self.production, self.shadow):
            threading.Thread(target=service.serve_forever, daemon=True).start()
        self.daemon: subprocess.Popen[bytes] | None = None

    def step(self, name: str, run: Any) -> bool:
        begun = time.monotonic()
        try:
            detail, ok = run() or "", True
        except Exception as error:  # whatever it is: it is what is to be told
            detail, ok = f"{type(error).__name__}: {error}"[-3000:], False
        self.ok = self.ok and ok
        print(json.dumps({"step": name, "ok": ok, "seconds": round(time.monotonic() - begun, 2), "detail": detail}),
              flush=True)  # fmt: skip
        return ok

    def ctl(self, *words: str) -> Any:
        out = sh(*self.control, *words, "--socket", str(self.folder / "s"), "--json")
        return json.loads(out)

    # --- steps ------------------------------------------------------------------------------------------------------

    def host(self) -> dict[str, Any]:
        return {
            "kernel": os.uname().release,
            "machine": os.uname().machine,
            "btf": os.path.exists("/sys/kernel/btf/vmlinux"),
            "python": sys.version.split()[0],
        }

    def network(self) -> None:
        sh("ip", "netns", "add", SPACE)
        sh("ip", "link", "add", OUTSIDE, "type", "veth", "peer", "name", INSIDE)
        sh("ip", "link", "set", INSIDE, "netns", SPACE)
        for prefix, name, last in (([], OUTSIDE, "1"), (["ip", "netns", "exec", SPACE], INSIDE, "2")):
            sh(*prefix, "ip", "addr", "add", f"{V4}.{last}/24", "dev", name)
            sh(*prefix, "ip", "addr", "add", f"{V6}{last}/64", "dev", name, "nodad")
            sh(*prefix, "ip", "link", "set", name, "up")

    def start(self) -> dict[str, Any]:
        config = self.folder / "shadowd.toml"
        lines = ['http = ""', 'cpu_guard = "off"', 'cpu_max = "10000%"']
        lines += [f'loader = "{self.loader}"'] if self.loader else []
        config.write_text("\n".join(lines) + "\n")
        log = open(self.folder / "log", "wb")  # noqa: SIM115
        command = [*self.program, "run", "--config", str(config), "--socket", str(self.folder / "s")]
        command += ["--state-dir", str(self.folder / "state")]
        self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        end = time.monotonic() + LIMIT
        while b"shadowd: ready" not in (self.folder / "log").read_bytes():
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text("utf-8", "replace")[-3000:])
            time.sleep(0.05)
        return {"programs": self.ctl("status").get("programs")}

    def hook(self, name: str, hook: str, host: str) -> dict[str, Any]:
        for service in (self.production, self.shadow):
            service.seen.clear()
        port, shadow = self.production.server_address[1], self.shadow.server_address[1]
        self.ctl("filter", "add", name, "--hook", hook, "--port", str(port), "--to", f"http://127.0.0.1:{shadow}",
                 "--methods", "GET,POST", "--twin", "0", "--timeout", "60s", "--max-lag", "60s")  # fmt: skip
        words = ["ip", "netns", "exec", SPACE, sys.executable, __file__, "--client", host, str(port)]
        sh(*words)
        ledger = self.settled(name)
        target = ledger["targets"][0]
        self.ctl("filter", "rm", name)
        told = {"seen": ledger["seen"], "mirrored": target["mirrored"], "balanced": ledger["balanced"]}
        if sorted(self.production.seen) != sorted(self.shadow.seen) or target["mirrored"] != SMALL + LARGE:
            log = (self.folder / "log").read_text("utf-8", "replace")[-800:]
            raise RuntimeError(f"the shadow got other requests than production: {json.dumps(ledger)} {log}")
        if not ledger["balanced"]:
            raise RuntimeError(f"the ledger does not balance: {json.dumps(ledger)}")
        return told

    def settled(self, name: str) -> dict[str, Any]:
        end = time.monotonic() + LIMIT
        while True:
            ledger: dict[str, Any] = self.ctl("ledger", name)["filters"][0]
            lost = sum(ledger["lost"].values()) + sum(ledger["targets"][0]["failed"].values())
            if not ledger["in_flight"] and ledger["targets"][0]["mirrored"] + lost >= SMALL + LARGE:
                return ledger
            if time.monotonic() > end:
                raise RuntimeError(f"the ledger did not settle: {json.dumps(ledger)}")
            time.sleep(0.2)

    def doctor(self) -> str:
        done = subprocess.run(
            [*self.control, "doctor", "--socket", str(self.folder / "s"), "--json"],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout)["findings"]
        return "; ".join(f"{one['level']}: {one['what']}" for one in found if one["level"] != "ok")

    def stop(self) -> str:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        code = self.daemon.wait(LIMIT)
        if code:
            raise RuntimeError(f"it ended with {code}: {(self.folder / 'log').read_text()[-2000:]}")
        left = sh("tc", "filter", "show", "dev", OUTSIDE, "ingress") if shutil.which("tc") else ""
        if "shadowd" in left:
            raise RuntimeError(f"it left a program behind: {left}")
        return "clean"

    def close(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        for service in (self.production, self.shadow):
            service.shutdown()
        sh("ip", "netns", "del", SPACE, check=False)
        sh("ip", "link", "del", OUTSIDE, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self) -> int:
        with contextlib.closing(self):
            self.step("host", self.host)
            if not self.step("network", self.network) or not self.step("start", self.start):
                return 1
            for name, hook in (("socket", "socket"), ("tc", f"tc:{OUTSIDE}")):
                for version, host in (("4", f"{V4}.1"), ("6", f"{V6}1")):
                    self.step(f"{name} IPv{version}", lambda n=name + version, h=hook, a=host: self.hook(n, h, a))
            self.step("doctor", self.doctor)
            self.step("stop", self.stop)
        return 0 if self.ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loader", default="", help="bcc or prebuilt (default: the daemon's choice)")
    parser.add_argument("--client", nargs=2, metavar=("HOST", "PORT"), help=argparse.SUPPRESS)
    parser.add_argument("program", nargs="*", default=[], help="how shadowd is run (default: that of this tree)")
    options = parser.parse_args()
    if options.client:
        client(options.client[0], int(options.client[1]))
        return 0
    if os.geteuid():
        sys.exit("run it as root")
    program = options.program or [str(ROOT / ".venv/bin/python"), "-m", "shadowd.cli.shadowd"]
    control = [*program[:-1], "shadowd.cli.shadowctl"]
    if options.program:
        control = [str(Path(program[0]).with_name("shadowctl"))]
    return Acceptance(program, control, options.loader).run()


if __name__ == "__main__":
    sys.exit(main())
