"""conf.d beside the configuration file, and files that change under a running daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shadowd.config.document import DROP_INS_LIMIT, fingerprint, load_config
from shadowd.errors import ConfigError, ShadowdError
from tests.netns.lab import Daemon, running, wait_for


def table(name: str, port: int = 80) -> str:
    return f'[[filters]]\nname = "{name}"\nports = [{port}]\ntargets = [{{ url = "http://127.0.0.1:1" }}]\n'


def write(folder: Path, **files: str) -> Path:
    """``main`` is shadowd.toml, the others are drop-ins."""
    (folder / "conf.d").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / "shadowd.toml" if name == "main" else folder / "conf.d" / f"{name}.toml").write_text(text)
    return folder / "shadowd.toml"


def test_filters_are_added_and_the_last_setting_wins(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='node = "main"\nnice = 3\n' + table("a"),
        b20='node = "twenty"\n' + table("c"),
        b10='node = "ten"\nring_bytes = "32MB"\n' + table("b"),
    )
    (tmp_path / "conf.d/.hidden.toml").write_text("not toml")
    (tmp_path / "conf.d/README").write_text("not toml")
    config = load_config(main)
    assert [spec.name for spec in config.filters] == ["a", "b", "c"]
    assert (config.node, config.nice, config.ring_bytes) == ("twenty", 3, 32 << 20)


def test_without_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(table("a"))
    assert [spec.name for spec in load_config(file).filters] == ["a"]
    (tmp_path / "conf.d").write_text("a file")
    assert [spec.name for spec in load_config(file).filters] == ["a"]


def test_every_fault_names_its_file_and_place(tmp_path: Path) -> None:
    main = write(
        tmp_path, main="nice = 30\n" + table("a"), one="[[", two=table("b") + table("b"), three=table("d", port=-1)
    )
    with pytest.raises(ConfigError) as caught:
        load_config(main)
    lines = str(caught.value).splitlines()
    places = [
        (f"{main}: nice: "),
        (f"{tmp_path}/conf.d/one.toml: not TOML: "),
        (f"{tmp_path}/conf.d/three.toml: filters[0].ports: "),
        (f"{tmp_path}/conf.d/two.toml: filters[1].name: "),
    ]
    assert len(lines) == len(places)
    assert all(line.startswith(place) and " — " in line for line, place in zip(lines, places, strict=True)), lines


def test_what_is_wrong_only_together(tmp_path: Path) -> None:
    main = write(tmp_path, main=table("a"), one=table("b"), two=table("a"))
    with pytest.raises(ConfigError) as caught:
        load_config(main)
    assert str(caught.value).startswith(f"{tmp_path}/conf.d/two.toml: the filter 'a' is in {main} too — ")
    full = "".join(table(f"f{number}") for number in range(40))
    write(tmp_path, main=full, one=full.replace('"f', '"g'), two="")
    with pytest.raises(ConfigError, match="filters"):
        load_config(main)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    main = write(tmp_path, main=table("a"))
    (tmp_path / "conf.d/gone.toml").symlink_to("nowhere")
    with pytest.raises(ShadowdError, match=r"gone\.toml: cannot be read: "):
        load_config(main)
    (tmp_path / "conf.d/gone.toml").unlink()
    for number in range(DROP_INS_LIMIT + 1):
        (tmp_path / f"conf.d/{number}.toml").touch()
    with pytest.raises(ShadowdError, match=f"has {DROP_INS_LIMIT + 1} files"):
        load_config(main)


def test_check_config_takes_them_in(tmp_path: Path) -> None:
    main = write(tmp_path, main=table("a"), one=table("b"))
    command = [sys.executable, "-m", "shadowd.cli.shadowd", "check-config", str(main)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{main}: ok, 2 filters: a, b\n")
    write(tmp_path, one="nice = -1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/conf.d/one.toml: nice: ")


def test_a_fingerprint_sees_every_kind_of_change(tmp_path: Path) -> None:
    main = write(tmp_path, main=table("a"))
    seen = [fingerprint(main)]

    def changed() -> bool:
        seen.append(fingerprint(main))
        return seen[-1] != seen[-2] and fingerprint(main) == seen[-1]

    assert not changed()
    main.write_text(table("b"))
    assert changed()
    write(tmp_path, one="")
    assert changed()
    (tmp_path / "new").write_text("nice = 1")
    (tmp_path / "new").replace(tmp_path / "conf.d/one.toml")
    assert changed()
    (tmp_path / "conf.d/one.toml").unlink()
    assert changed()
    main.unlink()
    assert changed()


# --- a running daemon -------------------------------------------------------------------------------------------------


def names(daemon: Daemon) -> list[str]:
    return sorted(entry["name"] for entry in daemon.call("filter.ls"))


def config_map(folder: Path, revision: int, files: dict[str, str]) -> None:
    """As kubelet's atomic writer does it: a new folder, and ``..data`` renamed over to it."""
    data = folder / f"..{revision}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").replace(folder / "..data")


@pytest.mark.usefixtures("root_user")
def test_a_config_map_that_changes(tmp_path: Path) -> None:
    folder = tmp_path / "map"
    start = 'http = ""\ncpu_guard = "off"\nreload_on_change = true\n'
    config_map(folder, 1, {"shadowd.toml": start + table("a")})
    daemon = Daemon(tmp_path / "d")
    daemon.config = folder / "shadowd.toml"
    try:
        daemon.start()
        assert names(daemon) == ["a"]
        config_map(folder, 2, {"shadowd.toml": start + table("a") + table("b", 81)})
        wait_for("the second filter", lambda: names(daemon) == ["a", "b"])
        config_map(folder, 3, {"shadowd.toml": start + table("c") + "nonsense"})
        (told,) = wait_for("the problem", lambda: daemon.call("status")["problems"])
        assert "shadowd.toml: not TOML" in told
        assert names(daemon) == ["a", "b"], "an invalid configuration changes nothing"
        config_map(folder, 4, {"shadowd.toml": start + table("b", 81)})
        wait_for("the first filter goes", lambda: names(daemon) == ["b"])
        assert daemon.call("status")["problems"] == []
        drop_ins = tmp_path / "map/conf.d"
        config_map(drop_ins, 1, {"team.toml": table("d", 82)})
        wait_for("the drop-in", lambda: names(daemon) == ["b", "d"])
    finally:
        log = daemon.stop()
    assert log.count("reload refused") == 1, "told once, not at every look"
    assert log.count("shadowd: reloaded") == 3
    assert "Traceback" not in log


@pytest.mark.usefixtures("root_user")
def test_off_unless_asked_for(tmp_path: Path) -> None:
    def looks() -> Any:
        return daemon.call("status")["uptime_s"] > 10  # five of the looks that a watching daemon makes

    with running(tmp_path / "d", table("a")) as daemon:
        daemon.config.write_text('http = ""\n' + table("b"))
        wait_for("time passes", looks)
        assert names(daemon) == ["a"]
        os.kill(daemon.pid, 1)
        wait_for("SIGHUP reloads", lambda: names(daemon) == ["b"])
