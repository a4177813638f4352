"""Every command of the documentation is run: what a page says to type must work.

``shadowctl`` and requests to the door go to a real daemon with a small production and its shadows behind it, names of
the examples replaced as in ``NAMES`` and by ``Place``. What would build, install, deploy or last is held to what it
names: its options, its target in the Makefile, its manifest, its unit (``CHECKS`` says which and why). A command of a
kind that is not listed here fails: whoever writes it into a page decides how it is tested.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from shadowd.cli import shadowctl, shadowd
from shadowd.config.document import DEFAULT_SOCKET, Config
from shadowd.evidence.carrying import to_bytes
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from tests.conftest import ROOT
from tests.netns.lab import Daemon, Server, free_port, ok, running, wait_for
from tests.pcaps import cases
from tests.unit.compare.protos import file_of, set_of
from tests.unit.evidence.fleet import value_of

from .commands import Command, Request, commands, options, pages, parts, requests

COMMANDS = [one for page in pages() for one in commands(page)]
REQUESTS = [one for page in pages() for one in requests(page)]

#: What stands for something of the reader's; ``ID`` is a difference's, ``ADDRESS`` a free one.
NAMES = {"NAME": "shop", "DIR": "out", "TIME": "1s", "/etc/shadowd/shadowd.toml": str(ROOT / "systemd/shadowd.toml")}
FILTERS = ("shop", "chat", "weather", "try", "cache", "api", "gateway")
#: Files that examples speak of.
FILES = {
    "prompt-v2.txt": b"You are kind.", "FILE": b"", "KEYS": b"# none\n", "FILE.pcap": cases.plain()[0],
    "api.binpb": set_of(file_of("proto3")),
    **{f"{node}.evidence": to_bytes(value_of(Examiner(Settings(), Rules()), node)) for node in ("edge-1", "edge-2")},
}  # fmt: skip
#: Exit codes that the pages promise: a verdict, and what the doctor found. Everything else succeeds.
CODES = {("shadowctl", "verdict"): {0, 1, 3}, ("shadowctl", "doctor"): {0, 1}}
#: These do not run here, their options are read: the demo and ``try`` take half a minute (tests/netns runs them),
#: ``top`` and ``tail`` go on, daemon and gate stay (``place`` is one), ``clean`` would take from others here.
PARSED = {
    *(("shadowctl", one) for one in ("demo", "try", "top", "tail")),
    *(("shadowd", one) for one in ("run", "clean", "gate")),
}
#: Paths of the door, by their first segment: other requests in the pages are examples of a service's.
DOOR = ("verdict", "filters", "flagger", "report", "run", "healthz", "readyz", "metrics", "")
APPS = {"shadowctl": shadowctl, "shadowd": shadowd}
#: Options of other programs that the pages name by themselves.
FOREIGN = re.compile(
    r"--(?:http-[a-z-]+|(?:in|out)put-[a-z-]+|middleware|offline"  # GoReplay, tcpcopy: docs/coming-from.md
    r"|password|file-flush-interval-msec)\b"
)


def names_of(one: Command | Request) -> str:
    what = f"{one.method} {one.path}" if isinstance(one, Request) else str(one)
    return f"{one.page}:{one.line} {what}"[:90]


class Place:
    """A daemon, a production and two shadows that answer otherwise, and the folder in which commands are given."""

    def __init__(self, daemon: Daemon, folder: Path, door: int) -> None:
        self.daemon, self.folder, self.door = daemon, folder, door
        self.production = Server(answer=lambda number, head, body: ok(b'{"price": 1}', headers=_JSON))
        self.shadows = [Server(answer=lambda number, head, body: ok(b'{"price": 2}', headers=_JSON)) for _ in range(2)]
        self._hosts: dict[str, str] = {}
        for name, data in FILES.items():
            (folder / name).write_bytes(data)

    def close(self) -> None:
        for server in (self.production, *self.shadows):
            server.close()

    def need(self, name: str) -> None:
        if name not in self.filters():
            self.daemon.add(name, self.production.port, self.shadows[0].url)

    def filters(self) -> set[str]:
        return {one["spec"]["name"] for one in self.daemon.call("filter.ls")}

    def url(self, url: str) -> str:
        """One shadow for each host that an example speaks of; raw ones too."""
        scheme, _, host = url.partition("://")
        known = self._hosts.setdefault(host, self.shadows[len(self._hosts) % 2].url.partition("://")[2])
        return f"{'tcp' if scheme == 'tcp' else 'http'}://{known}"

    def difference(self) -> str:
        """The id of one, made by asking production."""
        self.need("shop")

        def look() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", self.production.port, timeout=5)
            connection.request("GET", "/items/7")
            connection.getresponse().read()
            connection.close()
            found = json.dumps(self.daemon.call("diffs", name="shop"))
            ids = re.findall(r'"id": "([0-9a-f]{6,})"', found)
            return ids[0] if ids else ""

        return str(wait_for("a difference is seen", look))


_JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def place(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("docs")
    door = free_port()
    with running(folder / "daemon", f'http = "127.0.0.1:{door}"\n') as daemon:
        made = Place(daemon, folder, door)
        try:
            yield made
        finally:
            made.close()


# --- what is done with each program -----------------------------------------------------------------------------------


def substituted(words: tuple[str, ...], place: Place) -> list[str]:
    """As a reader would fill it in."""
    made: list[str] = []
    before = ""
    for word in words:
        if before == "--port":
            word = str(place.production.port)
        elif before == "--wait":
            word = "1s"
        elif word == "ADDRESS":
            word = f"127.0.0.1:{free_port()}"
        elif word == "ID" or ("diffs" in words and re.fullmatch(r"[0-9a-f]{8,}", word)):
            word = place.difference()
        elif re.match(r"(?:https?|tcp)://", word):
            word = place.url(word)
        elif "/" in word and (ROOT / word).exists():
            word = str(ROOT / word)
        else:
            word = NAMES.get(word, word)
        before = word
        made.append(word)
    return made


def is_mention(words: tuple[str, ...]) -> bool:
    """The mere name of a command: ``shadowctl filter add``."""
    return all(re.fullmatch(r"[a-z][a-z-]*", word) for word in words) and not set(words) & set(FILTERS)


def main(words: list[str], place: Place, monkeypatch: pytest.MonkeyPatch) -> int:
    """The program's exit code."""
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("SHADOWD_SOCKET", str(place.daemon.socket))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(place.folder)
    with pytest.raises(SystemExit) as ended:
        APPS[words[0]].main()
    return ended.value.code if isinstance(ended.value.code, int) else 1


def ours(one: Command, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    words = substituted(one.words, place)
    kind = (words[0], next((word for word in words[1:] if not word.startswith("-")), ""))
    if one.inline and is_mention(one.words):
        assert main([*words, "--help"], place, monkeypatch) == 0
    elif kind in PARSED or {"-w", "--watch"} & set(words):  # those go on until Ctrl-C
        command: Any = typer.main.get_command(APPS[words[0]].app)
        command.commands[kind[1]].make_context(kind[1], words[words.index(kind[1]) + 1 :])
    else:
        if words[1:3] == ["filter", "add"]:
            if words[3] in place.filters():
                place.daemon.call("filter.rm", name=words[3])
        else:
            for name in set(words) & set(FILTERS):
                place.need(name)
        return _ended(main(words, place, monkeypatch), CODES.get(kind, {0}))
    return set()


def _ended(code: int, expected: set[int]) -> set[int]:
    return set() if code in expected else {code}


def make(one: Command, *_: object) -> None:
    """Builds, installs and tests: not from within a test. Its targets and variables are the Makefile's."""
    makefile = (ROOT / "Makefile").read_text()
    for word in one.words[1:]:
        name, assignment, _value = word.partition("=")
        if assignment:
            assert re.search(rf"\$\({name}\)", makefile) or f"${{{name}" in (ROOT / ".ci/setup").read_text(), name
        else:
            assert re.search(rf"(?m)^{re.escape(name)}:", makefile), f"no target {name}"


def curl(one: Command, place: Place, *_: object) -> None:
    """The door's, really asked."""
    place.need("shop")
    words = [re.sub(r"(?:localhost|127\.0\.0\.1):9750", f"127.0.0.1:{place.door}", word) for word in one.words]
    assert any(f":{place.door}" in word for word in words), "only the daemon's door is asked here"
    words = [re.sub(r"\bNAME\b", "shop", word) for word in words]
    done = subprocess.run([*words, "--max-time", "10"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode in (0, 22), done.stderr  # 22: --fail and a gate that is closed


def systemd(one: Command, *_: object) -> None:
    """No service manager runs here (tests/vm/service.py has one): the verb is one, and the unit ours."""
    verbs = {"status", "start", "stop", "restart", "reload", "enable", "disable", "edit", "reset-failed", "show", "cat"}
    words = [word for word in one.words[1:] if not word.startswith("-")]
    if one.words[0] == "systemctl":
        assert words
        assert words.pop(0) in verbs
    for unit in words:
        assert (ROOT / "systemd" / f"{unit.removesuffix('.service')}.service").exists(), unit


def apt(one: Command, *_: object) -> None:
    """Packages are built and installed in a guest (tests/vm/service.py): the name is that of ours."""
    assert one.words[1] in ("install", "remove", "purge")
    (package,) = re.findall(r"(?m)^Package: (\S+)$", (ROOT / "systemd/debian/control").read_text())
    for word in one.words[2:]:
        assert re.fullmatch(rf"{package}|\./{package}_\S+\.deb", word), word


def wheel(one: Command, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Built and installed in tests/packages: the name is that of ours; what ``uvx`` runs of it is checked."""
    program, verb, name, *inner = one.words
    assert (program, verb) in (("pipx", "install"), ("uvx", "--from"))
    assert re.fullmatch(r"\./shadowd-\S+\.whl", name), name
    return check(Command(one.page, one.line, tuple(inner), one.inline), place, monkeypatch) if inner else set()


def kubectl(one: Command, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """No cluster here (tests/kubernetes renders the manifests): what is named is there; what ``exec`` runs is run."""
    words = one.words
    if "--" in words:
        inner = words[words.index("--") + 1 :]
        return check(Command(one.page, one.line, inner, one.inline), place, monkeypatch)
    verbs = {"apply", "create", "delete", "rollout", "get", "edit", "logs", "port-forward", "describe", "kustomize",
             "diff"}  # fmt: skip
    assert verbs & set(words), "a verb of kubectl"
    if "-k" in words and words[-1] != "-k":
        assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").exists()
    manifests = "".join(path.read_text() for path in sorted((ROOT / "kubernetes").glob("*/*.yaml")))
    for word in words:
        kind, found, name = word.partition("/")
        if found and "-k" not in words:
            assert re.search(rf"(?is)kind: {kind}\b.{{0,200}}?\bname: {name}\b", manifests), word
        if word == "-n":
            assert f"namespace: {words[words.index(word) + 1]}" in manifests
    return set()


def helm(one: Command, *_: object) -> None:
    """No cluster here (tests/kubernetes/test_helm.py renders the chart): the chart and the values set are there."""
    verb, release, *rest = one.words[1:]
    assert verb in ("install", "upgrade", "uninstall", "template")
    assert release == "shadowd"
    assert rest[:1] == ["kubernetes/helm/shadowd"] or verb == "uninstall"
    if verb != "uninstall":
        values = (ROOT / rest[0] / "values.yaml").read_text()
        for name in (word.partition("=")[0].split(".")[0] for word in rest if "=" in word):
            assert re.search(rf"(?m)^{name}:", values), name


def script(one: Command, *_: object) -> None:
    """It is there to be run (tests/control/test_pipelines.py runs it)."""
    assert os.access(ROOT / "docs/gates" / one.words[0], os.X_OK)


def image(one: Command, *_: object) -> None:
    """Built where there is podman (tests/kubernetes/test_image.py): the recipe is there."""
    assert one.words[1] in ("build", "push", "run", "load", "save")
    if "-f" in one.words:
        assert (ROOT / one.words[one.words.index("-f") + 1]).exists()


def python(one: Command, *_: object) -> None:
    """Benchmarks and the acceptance in a guest: long. The module or script is there."""
    if one.words[1] == "-m":
        assert importlib.util.find_spec(one.words[2]) is not None
    else:
        assert (ROOT / one.words[1]).is_file()


def git(one: Command, *_: object) -> None:
    """Nothing is fetched from within a test."""
    assert one.words[1:] == ("clone", "REPOSITORY", "shadowd")


def setpriv(one: Command, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The daemon without root is started in tests/service: here its options, and setpriv's."""
    at = next(number for number, word in enumerate(one.words[1:], 1) if not word.startswith("-"))
    said = subprocess.run(["setpriv", "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
    for word in one.words[1:at]:
        assert word.partition("=")[0] in said, word
    return check(Command(one.page, one.line, one.words[at:], False), place, monkeypatch)


def token(one: Command, *_: object) -> None:
    """The file is beside the daemon's socket, by default."""
    assert one.words[1:] == (str(Path(DEFAULT_SOCKET).with_name("http.token")),)


def ssh(one: Command, *_: object) -> None:
    """No other machine is here: what it leads to is the door, by its default address."""
    door = str(Config.model_fields["http"].default)
    assert (one.words[1], one.words[2].partition(":")[2]) == ("-L", door)


Check = Callable[[Command, Place, pytest.MonkeyPatch], "set[int] | None"]
CHECKS: dict[str, Check] = {
    "shadowctl": ours, "shadowd": ours, "make": make, "curl": curl, "systemctl": systemd, "journalctl": systemd,
    "apt": apt, "apt-get": apt, "kubectl": kubectl, "podman": image, "docker": image, "python": python,
    "python3": python, "setpriv": setpriv, "cat": token, "ssh": ssh, "git": git, "ask.sh": script, "helm": helm,
    "pipx": wheel, "uvx": wheel,
}  # fmt: skip


def check(one: Command, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The exit codes that were not to be."""
    assert one.words[0] in CHECKS, f"{one.words[0]}: say in CHECKS how such a command is tested"
    return CHECKS[one.words[0]](one, place, monkeypatch) or set()


# --- tests ------------------------------------------------------------------------------------------------------------


def unique(found: list[Command]) -> list[Command]:
    """Each once, where it stands first; in a block rather than in a sentence."""
    chosen: dict[tuple[str, ...], Command] = {}
    for one in found:
        known = chosen.get(one.words)
        if known is None or (known.inline and not one.inline):
            chosen[one.words] = one
    return list(chosen.values())


@pytest.mark.parametrize("one", unique(COMMANDS), ids=names_of)
def test_command(
    one: Command, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = check(one, place, monkeypatch)
    said = capfd.readouterr()
    assert not wrong, f"{one} ended with {wrong}: {said.err or said.out}"
    assert "Traceback" not in said.err


@pytest.mark.parametrize("one", [one for one in REQUESTS if one.path.split("/")[1].split("?")[0] in DOOR], ids=names_of)
def test_request(one: Request, place: Place) -> None:
    place.need("shop")
    connection = http.client.HTTPConnection("127.0.0.1", place.door, timeout=10)
    token = (place.daemon.folder / "http.token").read_text().strip()  # reports ask for it
    body = b"{}" if one.method == "POST" else None
    connection.request(one.method, one.path.replace("NAME", "shop"), body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    # 4xx that are answers: 412 is a closed gate, 403 and 409 a door that wants its header, or another build
    assert answer.status < 400 or answer.status in (403, 409, 412), f"{answer.status}: {said[:300]!r}"


def options_of(command: Any) -> set[str]:
    found = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return found.union(*(options_of(below) for below in getattr(command, "commands", {}).values()))


def test_an_option_that_is_named_by_itself_is_ours() -> None:
    known = {"--help"}.union(*(options_of(typer.main.get_command(app.app)) for app in APPS.values()))
    named = [(page.name, *one) for page in pages() for one in options(page)]
    assert len(named) > 100
    assert [one for one in named if one[2] not in known and not FOREIGN.match(one[2])] == []


def test_the_programs_start_as_they_are_installed() -> None:
    """The rest here is called within this process; the entry points are the same."""
    for name in APPS:
        program = shutil.which(name, path=str(Path(sys.executable).parent))
        assert program is not None, f"{name} is not installed"
        assert subprocess.run([program, "--version"], capture_output=True, timeout=60, check=False).returncode == 0


def test_the_pages_are_read() -> None:
    """A reader that finds nothing would let everything pass."""
    found = {(one.page, one.words[:2]) for one in COMMANDS if not one.inline}
    assert ("CONTRIBUTING.md", ("make", "demo")) in found
    assert ("docs/operations.md", ("shadowctl", "filter")) in found
    assert len(found) > 25
    assert len(REQUESTS) > 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sudo shadowctl status", [("shadowctl", "status")]),
        (".venv/bin/shadowd run &   # logs", [("shadowd", "run")]),
        ("A=1 B='x y' make test C=3", [("make", "test", "C=3")]),
        ("caps=-all,+bpf", []),
        ("a --x 'b # c' && d | e -f > out.txt 2>&1; g", [("a", "--x", "b # c"), ("d",), ("e", "-f"), ("g",)]),
        ("curl 'http://localhost:9750/verdict?filter=shop&x=1'",
         [("curl", "http://localhost:9750/verdict?filter=shop&x=1")]),
    ],
)  # fmt: skip
def test_lines_are_read_as_a_shell_does(line: str, words: list[tuple[str, ...]]) -> None:
    assert parts(line) == words


def test_what_is_wrong_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check refuses what a page must not say."""
    assert ours(Command("", 0, ("shadowctl", "status", "--no-such"), False), place, monkeypatch) == {2}
    assert ours(Command("", 0, ("shadowctl", "verdict", "nobody"), False), place, monkeypatch) == {2}
    for wrong in (
        "make no-such-target", "make test NO_SUCH=1", "systemctl status other", "apt install other", "frobnicate now",
        "kubectl apply -k kubernetes/none", "kubectl -n shadowd rollout status daemonset/other", "shadowctl no-such",
        "podman build -f none .", "python -m no_such", "curl http://example.com/", "setpriv --no-such shadowd run",
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            check(Command("", 0, tuple(wrong.split()), True), place, monkeypatch)
    for wrong in ("shadowctl demo --no-such", "shadowd run --http"):
        with pytest.raises(Exception, match=r"No such option|requires an argument"):
            ours(Command("", 0, tuple(wrong.split()), False), place, monkeypatch)
