"""``--tls decrypt`` of services as hosts have them: with files of their own mount namespace, from images that are
replaced, forking with a connection in hand."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bpf.test_tlsprobes import library
from tests.netns.lab import Daemon, Server, running, sh, wait_for
from tests.netns.test_tls import TlsClient, post
from tests.netns.test_tls_programs import ask, shadow
from tests.tlsservers import recording, servers
from tests.tlsservers.servers import Start, TlsProgram, serving
from tests.unit.certificates import Certificate

__all__ = ["library", "shadow"]  # fixtures

pytestmark = pytest.mark.usefixtures("probed")

#: A mount namespace in which /mnt is an overlay of an image's folder ($1), that nobody outside sees.
CONTAINER = (
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/merged && mount -t overlay overlay -o "
    'lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work /mnt/merged && shift && LD_LIBRARY_PATH=/mnt/merged exec "$@"'
)


def contained(image: Path) -> Start:
    return lambda made: ["unshare", "--mount", "sh", "-c", CONTAINER, "sh", str(image), *servers.asyncio(made)]


@pytest.fixture
def image(tmp_path: Path, library: Path) -> Callable[[str], Path]:
    """A folder with a libssl of its own: another inode."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(library, folder / "libssl.so.3")
        return folder

    try:
        sh("unshare", "--mount", "sh", "-c", CONTAINER, "sh", str(make("tried")), "true")
    except AssertionError as error:
        pytest.skip(f"no overlayfs in a mount namespace here: {error}")
    return make


def libraries(daemon: Daemon) -> list[str]:
    """As the last line of the log has them."""
    line = [line for line in daemon.log.read_text().splitlines() if "tls is read: name=shop" in line][-1]
    return line.partition("libraries=")[2].partition(" problems=")[0].split(", ")


def test_containers_of_an_image_and_of_the_next(
    tmp_path: Path, certificate: Certificate, shadow: Server, image: Callable[[str], Path]
) -> None:
    """Two of one image are one probe; a new image is found when its first connection had no secret."""
    context, errors = certificate.client(), []
    old, new = image("old"), image("new")
    made = [TlsProgram(tmp_path / name, certificate, "1.3") for name in ("a", "b", "c")]
    with ExitStack() as stack:
        for one in made[:2]:
            stack.enter_context(serving(contained(old), one))
        daemon = stack.enter_context(running(tmp_path / "d"))
        ports = ",".join(str(one.port) for one in made)
        daemon.add("shop", ports, shadow.url, methods="any", tls="decrypt", max_lag=600)
        assert libraries(daemon) == ["/mnt/merged/libssl.so.3"]
        for number, one in enumerate(made[:2]):
            ask(one.port, context, number, True, errors)
        assert errors == []
        ledger = daemon.settled("shop", lambda found: found["seen"] == 14)
        assert ledger["targets"][0]["mirrored"] == 14, ledger
        stack.enter_context(serving(contained(new), made[2]))

        def read() -> bool:
            client = TlsClient(context, made[2].port)
            post(client, "/new", b"")
            client.close()
            return len(shadow.requests) > 14

        wait_for("the new image is read", read, 60)
        asked = Counter(line for one in made for line in one.requests)
        ledger = daemon.settled("shop", lambda found: found["seen"] == asked.total())
        assert set(ledger["lost"]) == {"tls_no_key"}, "what began before is counted"
        assert len(libraries(daemon)) == 2
        replayed = Counter(map(recording.recorded, shadow.requests))
        assert (asked - replayed).keys() == {recording.line("POST", "/new", b"")}
        assert not replayed - asked


def test_a_library_that_is_upgraded_under_a_running_service(
    tmp_path: Path, certificate: Certificate, shadow: Server, image: Callable[[str], Path]
) -> None:
    """As package managers do: a new file in the place of the old, which the service keeps until it restarts."""
    context, errors, folder = certificate.client(), [], image("lib")

    def start(made: TlsProgram) -> list[str]:
        return ["env", f"LD_LIBRARY_PATH={folder}", *servers.asyncio(made)]

    made = TlsProgram(tmp_path / "before", certificate, "1.3")
    again = TlsProgram(tmp_path / "after", certificate, "1.3")
    again.port = made.port
    with running(tmp_path / "d") as daemon:
        with serving(start, made):
            daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
            shutil.copy(folder / "libssl.so.3", folder / "new")
            os.rename(folder / "new", folder / "libssl.so.3")
            ask(made.port, context, 0, True, errors)
            ledger = daemon.settled("shop", lambda found: found["seen"] == 7)
            assert ledger["targets"][0]["mirrored"] == 7, "the old file's probe holds"
        with serving(start, again):

            def read() -> bool:
                client = TlsClient(context, made.port)
                post(client, "/new", b"")
                client.close()
                return len(shadow.requests) > 7

            wait_for("the new file is read", read, 60)
            ledger = daemon.settled("shop", lambda found: found["seen"] == 7 + len(again.requests))
            assert set(ledger["lost"]) <= {"tls_no_key"}
        assert errors == []


def test_a_server_that_forks_with_a_connection(tmp_path: Path, certificate: Certificate, shadow: Server) -> None:
    """The one who made the handshake is not the one who writes."""
    made, context = TlsProgram(tmp_path / "server", certificate, "1.3"), certificate.client()
    with serving(servers.forking, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
        for number in range(5):
            client = TlsClient(context, made.port)
            for turn in range(4):
                post(client, f"/{number}/{turn}", os.urandom(9000 * turn))
            client.close()
        ledger = daemon.settled("shop", lambda found: found["seen"] == 20)
        assert ledger["targets"][0]["mirrored"] == 20, ledger
        assert not ledger["lost"]
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests
        assert len(made.requests) == 20
