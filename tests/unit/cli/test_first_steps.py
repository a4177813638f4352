"""What somebody does on the first day: look at the version and the help, write a configuration and check it."""

from __future__ import annotations

import json
import platform
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd import __version__, compiled
from shadowd.cli.filteroptions import GROUPS, OPTIONS
from shadowd.config.document import MAX_FILTERS, load_config
from shadowd.config.filter import FilterSpec
from tests.conftest import ROOT
from tests.unit.certificates import Certificate
from tests.unit.cli.test_cli import Served, command, refused, worked
from tests.unit.cli.test_cli_verdicts import Judged

# --- version and help -------------------------------------------------------------------------------------------------


def test_version_with_and_without_a_daemon(shop: Served, tmp_path: Path) -> None:
    told = worked(shop("version"))
    assert f"client: shadowctl {__version__}, {compiled.STATE}, Python {platform.python_version()}" in told
    assert "daemon: shadowd 9.9" in told
    assert "they are of different versions" in told
    assert f"kernel: {platform.release()} on {platform.machine()}" in told
    none = str(tmp_path / "none.sock")
    assert "daemon: no daemon answers" in worked(command("shadowctl", "--socket", none, "version"))
    found = json.loads(worked(command("shadowctl", "--socket", none, "version", "--json")))
    assert found["client"]["version"] == __version__
    assert found["daemon"] is None
    assert none in found["problem"]
    assert json.loads(worked(shop("version", "--json")))["daemon"]["pid"] == 42


@pytest.mark.parametrize("words", [["filter", "add"], ["filter", "set"], ["try"]], ids=" ".join)
def test_help_groups_every_option_once_and_fits(words: list[str]) -> None:
    told = worked(command("shadowctl", *words, "--help", COLUMNS="200"))
    assert max(map(len, told.splitlines())) <= 100
    listed = told.partition("Options:")[2]
    headings = re.findall(r"(?m)^(\S.*):$", listed)
    assert headings == list(GROUPS)
    for name in OPTIONS:
        assert len(re.findall(rf"(?m)^  --{name.replace('_', '-')}(?![\w-])", listed)) == 1, name


# --- a configuration --------------------------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[int]:
    """A port on which this process listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener.getsockname()[1]
    listener.close()


def test_init_writes_what_listens_here(tmp_path: Path, listening: int) -> None:
    file = tmp_path / "shadowd.toml"
    told = worked(command("shadowctl", "init", "-o", str(file)))
    assert told.startswith(f"wrote {file} with ")
    text = file.read_text()
    assert f'#ports = ["{listening}"]' in text
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert worked(command("shadowd", "check-config", str(file))) == f"{file}: ok, 0 filters\n"
    # what is taken in is a configuration, too: all of it, with an address in the place of SHADOW
    plain = re.sub(r"(?m)^#(?! )", "", text).replace("SHADOW", "next.example").replace('socket_group = "shadowd"', "")
    head, *proposed = re.split(r"(?m)^(?=\[\[filters\]\])", plain)
    filters = []
    for first in range(0, len(proposed), MAX_FILTERS):  # other tests listen, too
        file.write_text(head + "".join(proposed[first : first + MAX_FILTERS]))
        filters += load_config(file).filters
    file.write_text(plain)
    assert ((listening, listening),) in [spec.ports for spec in filters]
    assert len({spec.name for spec in filters}) == len(filters)
    assert "is there already" in refused(command("shadowctl", "init", "-o", str(file)), 2)
    assert file.read_text() == plain
    assert f'#ports = ["{listening}"]' in worked(command("shadowctl", "init", "-o", "-"))


def test_export_is_a_configuration(shop: Served, tmp_path: Path) -> None:
    specs = shop.filters.specs
    specs["api"] = FilterSpec.from_wire({
        "name": "api", "ports": ["80", "8000-8010"], "to": "https://api-next", "insecure": True, "sample": "10%",
        "timeout": "30s", "match_path": '^/"\\', "paused": True,
    } | {"match_path": '^/"a"'})  # fmt: skip
    file = tmp_path / "filters.toml"
    file.write_text(worked(shop("filter", "export")))
    assert worked(command("shadowd", "check-config", str(file))) == f"{file}: ok, 2 filters: shop, api\n"
    assert {spec.name: spec for spec in load_config(file).filters} == specs
    file.write_text(worked(shop("filter", "export", "api")))
    assert load_config(file).filters == [specs["api"]]
    assert [one["name"] for one in json.loads(worked(shop("filter", "export", "--json")))] == ["shop", "api"]
    assert "there is no filter named none" in refused(shop("filter", "export", "none"), 2)
    file.write_text(worked(shop("filter", "show", "api")))
    assert load_config(file).filters == [specs["api"]], "what show says is TOML, too"


def checked(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    file = folder / "shadowd.toml"
    file.write_text(text)
    return command("shadowd", "check-config", str(file), *words)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('socket_group = "no-such-group"', "socket_group: there is no group no-such-group — create it: groupadd"),
        ('socket = "/proc/version/s"', "socket: /proc/version is no directory"),
        ('state_dir = "/proc/version"', "state_dir: /proc/version is no directory"),
        ('ca = "/none/ca.pem"', "filter shop: targets[0]: https://next:443: a certificate file cannot be used"),
        ('client_cert = "/none/c.pem"', "filter shop: targets[0]: https://next:443: a certificate file cannot be used"),
        ('descriptors = "/none/api.binpb"', "filter shop: descriptors: /none/api.binpb cannot be read: No such file"),
        ('tls_keylog = "/etc"', "filter shop: tls_keylog: /etc "),
        ('cgroup = "none.slice"', "filter shop: cgroup: "),
    ],
    ids=lambda value: value.partition(" ")[0],
)
def test_what_the_daemon_would_not_start_with_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    general = text if text.startswith(("socket", "state")) else ""
    mine = "" if general else text
    document = f'{general}\n[[filters]]\nname = "shop"\nports = [80]\nto = "https://next"\n{mine}\n'
    done = checked(tmp_path, document)
    assert refused(done, 2).startswith(f"{tmp_path}/shadowd.toml: {says}"), done.stderr


def test_a_configuration_for_another_host(tmp_path: Path) -> None:
    document = 'socket_group = "no-such-group"'
    assert json.loads(checked(tmp_path, document, "--json").stdout)["ok"] is False
    assert checked(tmp_path, document, "--elsewhere").returncode == 0


def test_what_may_come_yet_is_a_warning(tmp_path: Path, certificate: Certificate) -> None:
    document = (
        f'http_token_file = "{tmp_path}/none/token"\n[[filters]]\nname = "shop"\nports = [80]\nto = "https://next"\n'
        f'ca = "{certificate.chain}"\ntls_keylog = "{tmp_path}/none/keys.log"\n'
    )
    done = checked(tmp_path, document)
    assert done.returncode == 0
    assert done.stdout.endswith("ok, 1 filter: shop\n")
    token, keylog = done.stderr.splitlines()
    assert token.startswith(f"warning: {tmp_path}/shadowd.toml: http_token_file: {tmp_path}/none does not exist — ")
    assert f"keys.log does not exist yet, nor does the folder {tmp_path}/none — the daemon waits for it" in keylog
    assert len(json.loads(checked(tmp_path, document, "--json").stdout)["warnings"]) == 2


# --- files ------------------------------------------------------------------------------------------------------------


def test_reports_are_their_owners_alone(judged: tuple[Served, Judged], tmp_path: Path) -> None:
    html, markdown = tmp_path / "r.html", tmp_path / "r.md"
    markdown.touch(0o644)
    markdown.chmod(0o644)
    assert judged[0]("report", "shop", "--html", str(html), "--markdown", str(markdown)).returncode == 0
    assert stat.S_IMODE(html.stat().st_mode) == 0o600
    assert stat.S_IMODE(markdown.stat().st_mode) == 0o644, "one that was made for others stays for others"
    assert markdown.read_text().startswith("## ")


# --- make demo --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("root_user")
def test_make_demo_says_that_it_needs_root_before_it_installs() -> None:
    line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "make", "-C", str(ROOT), "demo"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "needs root — run: sudo make demo" in done.stderr
    assert "set-up" not in done.stdout + done.stderr
