"""Compiles the modules that have a ``.pxd`` beside them, and puts the capture program into the package; everything else
about the project is in ``pyproject.toml``.

Where there is no C compiler or no Python headers nothing is compiled, and shadowd runs from its sources, slower
(``shadowd/compiled.py``). ``SHADOWD_PURE=1`` skips it; ``SHADOWD_COMPILED=required`` makes a failure an error.

``bpf/`` becomes ``shadowd/bpf/``: the sources, and the bytecode if ``make bpf-bytecode`` has made it of them. Without
it a package needs bcc where it runs; ``SHADOWD_BYTECODE=required`` makes that an error.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from shadowd.capture import bytecode  # noqa: E402
from shadowd.compiled import compiled_sources, write_record  # noqa: E402

PACKAGE = ROOT / "shadowd"
BPF = ROOT / "bpf"
BYTECODE = BPF / "shadowd.bytecode"
REQUIRED = os.environ.get("SHADOWD_COMPILED") == "required"
BUILDS = {"build_ext", "build", "bdist_wheel", "editable_wheel", "install", "develop"}


def lacking() -> str:
    """What this machine has not that compiling takes; "" if nothing."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no {compiler}"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.is_file() else f"there is no {header}"


def extensions() -> list[Extension]:
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    Options.warning_errors = True
    modules = []
    for source in compiled_sources(PACKAGE):
        if source.suffix == ".py":
            name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
            modules.append(Extension(name, [str(source.relative_to(ROOT))], extra_compile_args=["-O2", "-g0"]))
    return cythonize(
        modules,
        build_dir="build/cython",
        nthreads=os.cpu_count() or 1,
        language_level=3,
        compiler_directives={
            "annotation_typing": False,  # what is typed stands in the .pxd alone
            "boundscheck": True,  # bytes from outside are indexed
            "wraparound": True,
            "initializedcheck": True,
            "overflowcheck": False,
            "embedsignature": False,
        },
    )


def unusable_bytecode() -> str:
    """Why there is no bytecode to put into a package; "" if there is."""
    abi = next(line.split()[2] for line in (BPF / "abi.h").read_text().splitlines() if "define ABI_VERSION" in line)
    try:
        bytecode.read(str(BYTECODE), int(abi))
    except bytecode.BytecodeError as error:
        return f"{BYTECODE}: {error}"
    return ""


class Modules(build_py):
    """With them the capture program: what it is compiled from, its license, and what was compiled."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a source tree has bpf/ itself
            for source, copy in self._capture_program().items():
                self.mkpath(str(copy.parent))
                self.copy_file(str(source), str(copy))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *map(str, self._capture_program().values())]

    def _capture_program(self) -> dict[Path, Path]:
        """Files of the source tree, and where they go."""
        files = [one for one in BPF.rglob("*") if one.suffix in (".c", ".h") or one.name == "LICENSE"]
        problem = unusable_bytecode()
        if not problem:
            files.append(BYTECODE)
        elif os.environ.get("SHADOWD_BYTECODE") == "required":
            raise SystemExit(f"{problem} — make bpf-bytecode")
        return {one: Path(self.build_lib) / "shadowd/bpf" / one.relative_to(BPF) for one in files}


class Source(sdist):
    """With the capture program, compiled if it was: a build of it needs no bcc then. Without the tests."""

    def make_distribution(self) -> None:
        kept = {one for one in self.filelist.files if not one.startswith("tests/")}
        more = {str(one.relative_to(ROOT)) for one in BPF.rglob("*") if one.is_file() and one.suffix != ".pyc"}
        self.filelist.files = sorted(kept | more | {"CHANGELOG.md"})
        super().make_distribution()


class Build(build_ext):
    """All or none; what was compiled from what is written down beside it."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if REQUIRED:
                raise
            print(f"not compiled, shadowd will run from its sources: {error}", file=sys.stderr)
            for library in map(Path, self.get_outputs()):
                library.unlink(missing_ok=True)
            return
        write_record(PACKAGE, PACKAGE if self.inplace or self.editable_mode else Path(self.build_lib) / "shadowd")


wanted = bool(BUILDS & set(sys.argv)) and os.environ.get("SHADOWD_PURE", "0") in ("", "0")
missing = lacking() if wanted else ""
if missing:
    if REQUIRED:
        raise SystemExit(f"cannot compile: {missing} — install gcc and python3-dev")
    print(f"not compiled, shadowd will run from its sources: {missing}", file=sys.stderr)
setup(
    ext_modules=extensions() if wanted and not missing else [],
    cmdclass={"build_ext": Build, "build_py": Modules, "sdist": Source},
)
