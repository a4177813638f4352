"""What a release hands out: an apt repository that apt itself reads, checksums, signatures, a bill of materials."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shadowd import __version__
from tests.conftest import ROOT

NEEDED = {"dpkg-scanpackages": "dpkg-dev", "apt-ftparchive": "apt-utils", "gpg": "gnupg", "apt-get": "apt"}
VERSION = f"{__version__}+debian12"


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=os.environ | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode != 0) == bool(code), done.stdout
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the scripts, this version's names, and a package as small as can be."""
    lacking = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if lacking:
        pytest.skip(f"apt install {' '.join(lacking)}")
    (tmp_path / "dist").mkdir()
    for name in ("pyproject.toml", "CHANGELOG.md", "systemd"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "systemd").unlink()
    (tmp_path / "systemd").mkdir()
    for script in ("build-repo.sh", "release.sh"):
        shutil.copy(ROOT / "systemd" / script, tmp_path / "systemd" / script)
    control = tmp_path / "package/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: shadowd\nVersion: {VERSION}\nArchitecture: all\nMaintainer: nobody <n@example.org>\n"
        "Description: a package for a test\n"
    )
    run("dpkg-deb", "--build", "package", f"dist/shadowd_{VERSION}_all.deb", cwd=tmp_path)
    return tmp_path


@pytest.fixture
def key(clone: Path) -> dict[str, str]:
    home = clone / "gnupg"
    home.mkdir(mode=0o700)
    env = {"GNUPGHOME": str(home), "GPG_KEY": "release@example.org"}
    run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", env["GPG_KEY"], "ed25519", "sign", "never",
        cwd=clone, env=env)  # fmt: skip
    return env


def apt(clone: Path, source: str, *words: str, code: int = 0) -> str:
    """apt with sources, lists and a database of its own."""
    place = clone / "apt"
    for name in ("lists/partial", "cache/archives/partial", "etc"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    (place / "sources.list").write_text(source + "\n")
    options = (
        f"Dir::State={place}", f"Dir::State::status={place}/status", f"Dir::State::lists={place}/lists",
        f"Dir::Cache={place}/cache", f"Dir::Etc={place}/etc", f"Dir::Etc::sourcelist={place}/sources.list",
        "APT::Sandbox::User=root", "APT::Architecture=amd64",
    )  # fmt: skip
    given = [word for option in options for word in ("-o", option)]
    return run(words[0], *given, *words[1:], cwd=clone, code=code)


def test_apt_reads_a_repository_that_nobody_signed_only_if_told_to(clone: Path) -> None:
    source = run("bash", "systemd/build-repo.sh", cwd=clone, env={"GPG_KEY": ""}).splitlines()[-1].strip()
    assert source == f"deb [trusted=yes] file:{clone}/build/repo bookworm main"
    apt(clone, source, "apt-get", "update")
    assert VERSION in apt(clone, source, "apt-cache", "policy", "shadowd")
    apt(clone, source, "apt-get", "download", "shadowd")
    (downloaded,) = clone.glob("shadowd_*.deb")
    assert downloaded.read_bytes() == next((clone / "dist").glob("*.deb")).read_bytes()
    distrusted = apt(clone, source.replace("[trusted=yes] ", ""), "apt-get", "update", code=100)
    assert "is not signed" in distrusted


def test_a_signed_repository_is_trusted_as_long_as_nothing_of_it_changes(clone: Path, key: dict[str, str]) -> None:
    source = run("bash", "systemd/build-repo.sh", cwd=clone, env=key).splitlines()[-1].strip()
    assert "signed-by=" in source
    apt(clone, source, "apt-get", "update")
    assert VERSION in apt(clone, source, "apt-cache", "policy", "shadowd")
    shutil.rmtree(clone / "apt")
    release = clone / "build/repo/dists/bookworm/InRelease"
    release.write_text(release.read_text().replace("Origin: shadowd", "Origin: somebody"))
    (release.parent / "Release").unlink()
    assert "NO_PUBKEY" in (said := apt(clone, source, "apt-get", "update", code=100)) or "BADSIG" in said


def test_a_package_for_no_known_release_is_refused(clone: Path) -> None:
    (package,) = (clone / "dist").glob("*.deb")
    control = clone / "package/DEBIAN/control"
    control.write_text(control.read_text().replace("debian12", "plan9"))
    run("dpkg-deb", "--build", "package", package, cwd=clone)
    said = run("bash", "systemd/build-repo.sh", cwd=clone, code=1)
    assert said.splitlines()[-1].endswith("is for plan9, which is no release known here")


def test_a_release_is_checked_and_signed(clone: Path, key: dict[str, str]) -> None:
    assert "no bill of materials" in run("bash", "systemd/release.sh", cwd=clone, code=1)
    (clone / f"dist/shadowd_{VERSION}_all.cdx.json").write_text("{}")
    said = run("bash", "systemd/release.sh", cwd=clone, env=key)
    assert f"2 artefacts of {__version__}, SHA256SUMS, signed by" in said
    dist = clone / "dist"
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
    for name in ("SHA256SUMS", f"shadowd_{VERSION}_all.deb"):
        run("gpg", "--verify", f"{name}.asc", name, cwd=dist, env=key)
    notes = (dist / "RELEASE_NOTES.md").read_text()
    assert notes.strip().startswith("### Added")
    assert "\n## " not in notes
    (dist / "shadowd-0.0.1.tar.gz").touch()
    assert "is not of version" in run("bash", "systemd/release.sh", cwd=clone, code=1)


def test_the_bill_of_materials_keeps_the_schema_and_says_itself_the_same_twice() -> None:
    command = [sys.executable, "-B", str(ROOT / "systemd/sbom.py")]
    first, second = (subprocess.run(command, capture_output=True, check=True, timeout=60).stdout for _ in range(2))
    assert first == second
    told = json.loads(first)
    names = {one["name"].lower() for one in told["components"]}
    assert {"trio", "msgpack", "pydantic"} <= names
    refs = {one["bom-ref"] for one in [told["metadata"]["component"], *told["components"]]}
    own = next(one for one in told["dependencies"] if one["ref"] == told["metadata"]["component"]["bom-ref"])
    assert any(ref.startswith("pkg:pypi/trio@") for ref in own["dependsOn"])
    assert {ref for one in told["dependencies"] for ref in (one["ref"], *one["dependsOn"])} == refs

    validation = pytest.importorskip("cyclonedx.validation.json", reason="there is no cyclonedx-python-lib")
    schema = pytest.importorskip("cyclonedx.schema")
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_5).validate_str(first.decode()) is None
