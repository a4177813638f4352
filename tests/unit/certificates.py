"""A certificate for ``localhost`` and 127.0.0.1 that signs itself, made by the openssl command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.conftest import need


class Certificate:
    """``chain`` and ``key`` are PEM files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        need(shutil.which("openssl") is not None, "needs openssl")
        self.chain, self.key = folder / "shadow.pem", folder / "shadow.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(self.key), "-out", str(self.chain)]
        subprocess.run(command, check=True, capture_output=True)

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context

    def client(self, trusting: bool = True) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.chain) if trusting else None)
