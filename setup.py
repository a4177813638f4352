"""Compiles the modules that have a ``.pxd`` beside them; everything else about the project is in ``pyproject.toml``.

Where there is no C compiler or no Python headers nothing is compiled, and shadowd runs from its sources, slower
(``shadowd/compiled.py``). ``SHADOWD_PURE=1`` skips it; ``SHADOWD_COMPILED=required`` makes a failure an error.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from shadowd.compiled import compiled_sources, write_record  # noqa: E402

PACKAGE = ROOT / "shadowd"
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
setup(ext_modules=extensions() if wanted and not missing else [], cmdclass={"build_ext": Build})
