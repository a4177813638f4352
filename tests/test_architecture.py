"""The shape of the code, held by a test: layers, purity, who may import what, sizes, no unfinished marks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "shadowd"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: The house from the roof down (docs/architecture.md): a room imports those on floors below, and itself.
FLOORS = [
    {"cli"},
    {"demo"},
    {"observe"},
    {"service"},
    {"runs", "doctor"},
    {"worker"},
    {"judge", "replay"},
    {"evidence", "config"},
    {"talk", "policy"},
    {"compare"},
    {"protocols", "capture", "store", "control"},
    {"tls"},
    {"stream", "ledger", "redact"},
    {"exchange"},
    {"errors", "compiled"},
]
FLOOR_OF = {room: len(FLOORS) - depth for depth, rooms in enumerate(FLOORS) for room in rooms}
SANS_IO = {
    "stream", "tls", "exchange", "ledger", "redact", "protocols", "policy", "compare", "talk", "evidence",
    "judge", "control.wire", "capture.pressure", "capture.rules", "capture.elf", "capture.pclntab", "capture.tlslibs",
    "capture.tlssecrets",
}  # fmt: skip
IMPURE = {"trio", "socket", "time", "select", "threading", "subprocess", "random", "bcc"}
ONLY_IMPORTER = {
    "bcc": {"shadowd/capture/loader.py"},
    "pyroute2": {"shadowd/capture/attach.py", "shadowd/capture/sockets.py"},
    "psutil": {
        "shadowd/capture/processes.py",
        "shadowd/capture/host.py",
        "shadowd/capture/selection.py",
        "shadowd/capture/services.py",
    },
}
SIZE_LIMIT = 500
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + r"X\b|Not" + "Implemented")


def dotted(path: Path) -> str:
    """``stream.flow`` for shadowd/stream/flow.py, ``stream`` for its package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def longest(name: str, names: set[str]) -> str | None:
    """The longest of ``names`` that is ``name`` or a package around it."""
    parts = name.split(".")
    return next((known for k in range(len(parts), 0, -1) if (known := ".".join(parts[:k])) in names), None)


def imported(source: str, package: tuple[str, ...], typing_too: bool = True) -> Iterator[str]:
    """Absolute names of what a module of ``package`` imports, anywhere in it; ``from a import b`` gives ``a.b``."""
    tree = ast.parse(source)
    skipped: set[ast.AST] = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1] + ((base,) if base else ()))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(path: Path, typing_too: bool = True) -> Iterator[str]:
    """The same for a file of the package."""
    return imported(path.read_text(), ("shadowd", *path.relative_to(PACKAGE).parent.parts), typing_too)


def identifier(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(name: str) -> str:
    """``stream`` for stream.flow."""
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_imports_point_downward(path: Path) -> None:
    """Those for types as well: who reads a module has to know what it names."""
    own = room_of(dotted(path))
    if not own:
        own_imports = {name for name in imports(path) if name.startswith("shadowd.")}
        assert own_imports <= {"shadowd.compiled"}, "the package itself imports nothing but the choice of its modules"
        return
    assert own in FLOOR_OF, f"{own} has no floor: give it one"
    upward = []
    for name in imports(path):
        if not name.startswith("shadowd.") or name == "shadowd.__version__":
            continue
        other = room_of(name.removeprefix("shadowd."))
        assert other in FLOOR_OF, f"{own} imports {name}, which has no floor"
        if other != own and FLOOR_OF[other] >= FLOOR_OF[own]:
            upward.append(name)
    assert not upward, f"{own} imports upward"


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected parts of more than one node (R. Tarjan, 1972, the short way: who reaches each other)."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for other in graph.get(waiting.pop(), set()) - found:
                found.add(other)
                waiting.append(other)
        return found

    reach = {node: reached(node) for node in graph}
    left, found = set(graph), []
    while left:
        node = left.pop()
        circle = {other for other in reach[node] if node in reach.get(other, set())}
        left -= circle
        if len(circle) > 1:
            found.append(circle)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """However long the way. Within a room a type may name its neighbour's."""
    known = {dotted(path) for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        names = {name.removeprefix("shadowd.") for name in imports(path, typing_too=False)}
        graph[dotted(path)] = {found for name in names if (found := longest(name, known)) and found != dotted(path)}
    assert len(graph) > 200
    assert not circles(graph)


@pytest.mark.parametrize("path", [p for p in MODULES if longest(dotted(p), SANS_IO)], ids=identifier)
def test_sans_io_modules_do_no_io(path: Path) -> None:
    impure = sorted({name for name in imports(path) if name.split(".")[0] in IMPURE})
    assert not impure, f"{identifier(path)} is sans-IO: time and bytes are arguments"


@pytest.mark.parametrize("library", sorted(ONLY_IMPORTER))
def test_library_has_one_importer(library: str) -> None:
    importers = {identifier(p) for p in MODULES if any(name.split(".")[0] == library for name in imports(p))}
    assert importers <= ONLY_IMPORTER[library]


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_module_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= SIZE_LIMIT


DECLARED = sorted(PACKAGE.rglob("*.pxd"))
_ATTRIBUTE = re.compile(r"^    cdef (?:public )?\S.*?(\w+)$", re.MULTILINE)


def declared(text: str) -> dict[str, list[str]]:
    """The attributes of each class of a ``.pxd``."""
    parts = re.split(r"^cdef class (\w+)(?:\(\w+\))?:$", text, flags=re.MULTILINE)
    return {name: _ATTRIBUTE.findall(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def slots(tree: ast.Module) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "__slots__":
                    value = ast.literal_eval(part.value)
                    found[node.name] = [value] if isinstance(value, str) else list(value)
    return found


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_is_compiled_is_declared_as_the_source_has_it(path: Path) -> None:
    """Its module is beside it, and a class has there the attributes that its ``__slots__`` name: an attribute that is
    missing would be an error in the compiled module alone."""
    written = slots(ast.parse(path.with_suffix(".py").read_text()))
    for name, attributes in declared(path.read_text()).items():
        assert sorted(attributes) == sorted(written[name]), name


def test_nothing_is_unfinished() -> None:
    sources = [
        p for top in ("shadowd", "bpf") for p in sorted((ROOT / top).rglob("*")) if p.suffix in (".py", ".c", ".h")
    ]
    assert sources
    marks = [
        f"{identifier(path)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not marks


def test_the_detectors_detect() -> None:
    """The helpers above find what they are meant to find: else every test here would pass for nothing."""
    source = "import time as t\ndef f():\n    from bcc import BPF\nif TYPE_CHECKING:\n    from .. import daemon\n"
    package = ("shadowd", "stream")
    assert set(imported(source, package)) == {"time", "shadowd.daemon", "bcc.BPF"}
    assert set(imported(source, package, typing_too=False)) == {"time", "bcc.BPF"}
    assert list(imported("from .seq import before", package)) == ["shadowd.stream.seq.before"]
    assert longest(dotted(PACKAGE / "stream" / "flow.py"), SANS_IO) == "stream"
    assert longest("control.server", SANS_IO) is None
    assert FLOOR_OF["cli"] > FLOOR_OF["service"] > FLOOR_OF["stream"] > FLOOR_OF["errors"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [{"b", "c"}]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert declared("cdef class A(B):\n    cdef public long long a\n    cpdef f(self)\n") == {"A": ["a"]}
    assert DECLARED
    assert UNFINISHED.search("raise Not" + "ImplementedError")
    assert len(MODULES) > 10
