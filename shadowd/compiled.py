"""Whether the hot modules run compiled, and if not, why.

A module with a ``.pxd`` beside it is compiled by Cython where there is a C compiler (``setup.py``); its Python source
stays the truth and runs as well, slower. The compiled modules know each other's structures, so it is all or none: what
was compiled from is written down in ``compiled.json``, and where one source, the Python or one library does not fit,
the sources are used. ``SHADOWD_PURE=1`` asks for that.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent
RECORD = "compiled.json"
SUFFIX = EXTENSION_SUFFIXES[0]  # says which Python, which processor


def digest(source: Path) -> str:
    return hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest()


def compiled_sources(package: Path) -> list[Path]:
    """The modules that are compiled, and what Cython is told of them. What is inline has no library of its own."""
    declared = sorted(package.rglob("*.pxd"))
    modules = (one.with_suffix(".py") for one in declared if not one.read_text().startswith("# inline"))
    return sorted([*declared, *modules])


def write_record(package: Path, libraries: Path) -> None:
    """``libraries``: where the compiled modules of ``package`` were written."""
    sources = {str(one.relative_to(package)): digest(one) for one in compiled_sources(package)}
    (libraries / RECORD).write_text(json.dumps({"suffix": SUFFIX, "sources": sources}, indent=1) + "\n")


def why_not(package: Path = PACKAGE) -> str:
    """Why the sources are to be used; "" if nothing speaks against what was compiled."""
    if os.environ.get("SHADOWD_PURE", "0") not in ("", "0"):
        return "SHADOWD_PURE is set"
    try:
        record = json.loads((package / RECORD).read_text())
        suffix, sources = record["suffix"], dict(record["sources"])
    except FileNotFoundError:
        return "install gcc and python3-dev, then make setup"
    except (OSError, ValueError, LookupError, TypeError):
        return f"{RECORD} cannot be read: make setup"
    if suffix != SUFFIX:
        return f"what was compiled is for another Python ({suffix}): make setup"
    for source in compiled_sources(package):
        name = str(source.relative_to(package))
        if name not in sources:
            return f"{name} was not compiled yet: make setup"
    for name, known in sources.items():
        source = package / name
        if source.suffix == ".py" and not source.with_suffix(SUFFIX).is_file():
            return f"the library of {name} is missing: make setup"
        try:
            if digest(source) != known:
                return f"{name} is newer than what was compiled: make setup"
        except OSError:
            if source.suffix == ".py":
                return f"{name} is missing: make setup"
    return ""


class _Sources(importlib.abc.MetaPathFinder):
    """Finds this package's modules by their source, whatever library lies beside it."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("shadowd.") or path is None:
            return None
        for place in path:
            finder = self._finders.get(place)
            if finder is None:
                finder = self._finders[place] = FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES))
            found = finder.find_spec(fullname)
            if found is not None:
                return found
        return None


def choose() -> str:
    """Once, before any other module of the package is imported. Returns what ``state`` will say."""
    why = why_not()
    if why:
        sys.meta_path.insert(0, _Sources())
    return f"pure Python — {why}" if why else "compiled"


#: "compiled", or "pure Python — " and what to do.
STATE = choose()
