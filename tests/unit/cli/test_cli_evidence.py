"""``shadowctl evidence export`` and ``verdict --merge`` as a user and a pipeline meet them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.carrying import MAX_FILE, VERSION, from_bytes_untrusted, to_bytes
from tests.unit.cli.test_cli import Filters, Served, command, refused, serving, worked
from tests.unit.evidence.fleet import WIDE, World, dealt, value_of, with_margins

PAGE = 1000
HEALTHY, WRONG = World(seconds=55, rate=100), World(seconds=30, wrong=0.2, twin=0.4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What three nodes wrote, of a healthy release and of one that is not."""
    folder = tmp_path_factory.mktemp("evidence")
    found = {}
    for name, world in (("healthy", HEALTHY), ("wrong", WRONG)):
        for number, examiner in enumerate(dealt(world, 4, 3)[1]):
            found[f"{name}{number}"] = folder / f"{name}-{number}"
            value = with_margins(value_of(examiner, f"edge-{number}"), WIDE)
            found[f"{name}{number}"].write_bytes(to_bytes(value))
    return found


def merged(*files: object, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return command("shadowctl", "verdict", "--merge", *map(str, files), *options)


def three(files: dict[str, Path], name: str) -> list[Path]:
    return [files[f"{name}{number}"] for number in range(3)]


def test_a_fleet_has_one_verdict_and_its_exit_code(files: dict[str, Path]) -> None:
    passed = merged(*three(files, "healthy"))
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "PASS" in passed.stdout
    assert "of 3 runs, on edge-0, edge-1, edge-2" in passed.stdout
    failed = merged(*three(files, "wrong"), options=("--gate",))
    assert (failed.returncode, failed.stdout) == (1, "fail\n")
    assert "body $.total has another value" in failed.stderr
    told = json.loads(merged(*three(files, "wrong"), options=("--json",)).stdout)
    assert told["verdict"] == "fail"
    assert told["findings"][0]["endpoint"].startswith("GET /")
    assert [one["node"] for one in told["nodes"]] != []
    assert sum(one["eligible"] for one in told["nodes"]) == told["compared"]


def test_order_does_not_matter_and_one_file_is_a_fleet(files: dict[str, Path]) -> None:
    orders = (three(files, "wrong"), three(files, "wrong")[::-1])
    there, back = (json.loads(merged(*order, options=("--json",)).stdout) for order in orders)
    assert there == back
    alone = merged(files["wrong0"], options=("--json",))
    assert len(json.loads(alone.stdout)["nodes"]) == 1
    piped = subprocess.run(
        [sys.executable, "-m", "shadowd.cli.shadowctl", "verdict", "--merge", "-", "--json"],
        input=files["wrong0"].read_bytes(), capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert json.loads(piped.stdout) == json.loads(alone.stdout)


def test_another_build_is_inconclusive(files: dict[str, Path]) -> None:
    done = merged(*three(files, "wrong"), options=("--gate", "--label", "v9"))
    assert (done.returncode, done.stdout) == (3, "inconclusive\n")
    assert "the evidence is of the build v2, not of v9" in done.stderr
    assert merged(*three(files, "wrong"), options=("--gate", "--label", "v2")).returncode == 1


def test_files_that_cannot_be_used_are_named_in_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    good = files["healthy0"]
    whole, other, ours = good.read_bytes(), dealt(World(seconds=1), 1, 1)[0], b"evidence %d " % VERSION
    bad = {
        "truncated": (whole[: len(whole) // 2], "it is damaged"),
        "old": (whole.replace(ours, b"evidence 0 ", 1), "it has format 0"),
        "newer": (whole.replace(ours, b"evidence 9 ", 1), f"it has format 9, this version reads {VERSION}"),
        "empty": (b"", "no evidence of shadowd"),
        "nonsense": (os.urandom(4000), "no evidence of shadowd"),
        "large": (whole + bytes(MAX_FILE), "larger than"),
        "again": (whole, "edge-0 is there twice"),
        "basket": (to_bytes(value_of(other, "n", name="basket")), "two filters, shop and basket"),
        "margins": (to_bytes(value_of(other, "n")), "max_diff_share differs: 0.02 and 0.001"),
    }  # fmt: skip
    for name, (data, said) in bad.items():
        (tmp_path / name).write_bytes(data)
        line = refused(merged(good, tmp_path / name), 2)
        assert line.startswith(str(tmp_path / name)), line
        assert said in line
    line = refused(merged(good, tmp_path / "truncated", options=("--json",)), 2)
    for missing in (tmp_path / "none", tmp_path):
        assert str(missing) in refused(merged(good, missing), 2)


def test_names_in_a_file_do_not_control_the_terminal(tmp_path: Path) -> None:
    evil = "x\x1b]0;owned\x07\r\n\u202eerror: "
    examiner = dealt(WRONG._replace(seconds=12.0), 1, 1)[0]
    for endpoint in list(examiner.endpoints.values()):
        endpoint.name = f"GET /{evil}{endpoint.name[-3:]}"
    files = []
    for node in (f"one{evil}", f"two{evil}"):
        value = dict(value_of(examiner, node, name=f"shop{evil}", target=f"http://{evil}", label=evil))
        (part,) = value["parts"].values()
        value["parts"] = {node: {**part, "notes": (evil,), "unseen": evil}}
        files.append(tmp_path / str(len(files)))
        files[-1].write_bytes(to_bytes(value))
    for words in (files, [files[0], files[0]], [*files, "--label", "v9"], [*files, "--gate"]):
        done = merged(*words)
        shown = done.stdout + done.stderr
        assert "owned" in shown
        assert not set(shown) & set("\x1b\x07\r\u202e")
        assert not [line for line in shown.splitlines() if line.startswith("error: ")][1:]


def test_one_gigabyte_is_refused_without_reading_it(files: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "huge"
    with file.open("wb") as made:
        made.write(files["healthy0"].read_bytes())
        made.truncate(1 << 30)
    program = "import resource,sys; resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20)); "
    program += (
        "sys.argv = ['shadowctl', 'verdict', '--merge', sys.argv[1]]; from shadowd.cli.shadowctl import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "larger than 16 MB" in done.stderr
    line = refused(merged("/dev/zero"), 2)
    assert "no evidence of shadowd" in line


def test_what_makes_no_sense_together_is_refused(files: dict[str, Path]) -> None:
    assert "--merge FILE FILE" in refused(command("shadowctl", "verdict", "shop", "basket"), 2)
    assert "--wait" in refused(merged(files["wrong0"], options=("--wait", "5m")), 2)
    help_ = command("shadowctl", "evidence", "export", "--help").stdout
    assert "Examples:" in help_
    assert "--merge node-*.evidence" in command("shadowctl", "verdict", "--help").stdout


# --- export -----------------------------------------------------------------------------------------------------------


class Exporting(Filters):
    """A daemon that has one export, in pages of its own size."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        self.broken = False

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        self.asked.append((op, args))
        if op == "evidence.export":
            if args["name"] != "shop":
                raise UsageError(f"there is no filter named {args['name']}", "filters are: shop")
            return {"filter": "shop", "export": "ab12", "bytes": len(self.data)}
        assert (op, args["export"]) == ("evidence.page", "ab12")
        if self.broken:
            raise ShadowdError("there is no such export any more", "write it anew: shadowctl evidence export")
        return {"data": base64.b64encode(self.data[args["at"] :][:PAGE]).decode()}


@pytest.fixture
def daemon(files: dict[str, Path]) -> Iterator[Served]:
    with serving(Exporting(files["wrong0"].read_bytes())) as served:
        yield served


def test_export_writes_the_whole_file(daemon: Served, tmp_path: Path) -> None:
    done = daemon("evidence", "export", "shop", "-o", str(tmp_path / "a"), "--run", "v2")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"wrote {tmp_path / 'a'} ({(tmp_path / 'a').stat().st_size:,} bytes)\n"
    from_bytes_untrusted((tmp_path / "a").read_bytes())
    assert daemon.filters.asked[0] == ("evidence.export", {"name": "shop", "run": "v2"})
    assert len(daemon.filters.asked) > 3, "it came in pages"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_export_to_stdout_is_bytes_alone(daemon: Served) -> None:
    line = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.path), "evidence", "export", "shop"]
    done = subprocess.run([*line, "-o", "-"], capture_output=True, timeout=30, check=True)
    assert done.stdout == daemon.filters.data  # type: ignore[attr-defined]
    assert done.stderr == b""


def test_export_leaves_no_half_of_a_file(daemon: Served, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    daemon.filters.broken = True  # type: ignore[attr-defined]
    assert "no such export" in refused(daemon("evidence", "export", "shop", "-o", str(tmp_path / "a")), 1)
    assert (tmp_path / "a").read_bytes() == b"before"
    assert "no filter named" in refused(daemon("evidence", "export", "basket", "-o", str(tmp_path / "b")), 2)
    asked = len(daemon.filters.asked)
    assert "is a directory" in refused(daemon("evidence", "export", "shop", "-o", str(tmp_path)), 2)
    assert "not a directory" in refused(daemon("evidence", "export", "shop", "-o", str(tmp_path / "x" / "y")), 2)
    assert len(daemon.filters.asked) == asked, "told before the daemon works"
    assert worked(daemon("--version"))
