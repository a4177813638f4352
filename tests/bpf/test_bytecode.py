"""The prebuilt bytecode: what it captures is what the programs compiled here capture, and a bad file is one clear line.

Both sets of programs are loaded side by side and see the very same packets: under BPF_PROG_TEST_RUN, and attached
together around one live exchange on loopback.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shadowd.capture import abi, bpf, bytecode
from shadowd.capture import programs as programs_module
from shadowd.capture.preflight import check_host, find_bcc_python, find_cgroup2
from shadowd.capture.programs import Programs, load
from shadowd.capture.rules import Rule
from shadowd.errors import PlatformError
from tests.bpf.packets import ACK, FIN, SYN, ethernet, ipv4, ipv6, tcp
from tests.bpf.test_programs import TEST_RUN_IFINDEX, VARIANTS, Seen
from tests.conftest import ROOT, need

OWN_MARK = 0x20000000  # not the default: daemons of other tests must not be taken for this one
PROGRAMS = {"socket_ingress", "socket_egress", "tc_ingress", "tc_egress"}


@pytest.fixture(scope="session")
def bcc_python() -> str:
    try:
        return find_bcc_python()
    except PlatformError as error:
        need(False, str(error))
        raise


@pytest.fixture(scope="session")
def folder(bcc_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like bpf/ with the bytecode in it."""
    made = tmp_path_factory.mktemp("bytecode") / "bpf"
    shutil.copytree(ROOT / "bpf", made, ignore=shutil.ignore_patterns("*.bytecode", "__pycache__"))
    build(bcc_python, made / "shadowd.bytecode")
    return made


def build(python: str, output: Path, *before: str) -> None:
    done = subprocess.run(
        [*before, python, str(ROOT / "bpf/build_bytecode.py"), str(output)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def good(folder: Path) -> bytes:
    return (folder / "shadowd.bytecode").read_bytes()


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def both(root_user: None, folder: Path) -> Iterator[list[Programs]]:
    """The programs compiled here, and those of the file."""
    made: list[Programs] = []
    try:
        check_host()
        for loader in ("bcc", "prebuilt"):
            with environment(SHADOWD_BPF_DIR=str(folder), SHADOWD_LOADER=loader):
                made.append(load(1 << 20, OWN_MARK))
    except PlatformError as error:
        need(False, str(error))
    yield made
    for programs in made:
        programs.close()


def prepare(both: list[Programs], *rules: Rule) -> None:
    for programs in both:
        programs.apply(list(rules))
        mask = sum(rule.mask for rule in rules if rule.interface)
        programs.set_interfaces({TEST_RUN_IFINDEX: (mask, True)}, set())
        programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
        programs.ring.drain(Seen(), 1 << 20)


def captured(programs: Programs) -> Seen:
    seen = Seen()
    while programs.ring.drain(seen, 1 << 20):
        pass
    return seen


def without_time(seen: Seen) -> list[dict[str, Any]]:
    return [{name: value for name, value in s.items() if name != "time"} for s in seen.segments]


# --- the same capture -------------------------------------------------------------------------------------------------


def test_each_was_loaded_its_own_way(both: list[Programs]) -> None:
    assert [programs.loader for programs in both] == ["bcc", "prebuilt"]
    assert both[0].netns == both[1].netns
    for programs in both:
        assert set(programs.descriptors) == PROGRAMS | set(abi.MAPS) - {"tls_scope", "tls_places"}


@pytest.mark.parametrize("program", ["tc_ingress", "tc_egress"])
def test_the_same_records_from_the_same_packets(both: list[Programs], program: str) -> None:
    prepare(
        both,
        Rule(0, [(80, 80)], interface="lo"),
        Rule(1, [(80, 90)], clients=["10.1.0.0/16", "2001:db8::/32"], interface="lo"),
        Rule(2, [(80, 80)], sample=0.5, interface="lo"),
    )
    base = 30000 if program == "tc_ingress" else 31000
    frames = [make(base + number) for number, make in enumerate(VARIANTS.values())]
    for number, length in enumerate([1, 128, 129, 512, 513, 1025, 2049, 3500]):
        port = base + 100 + number
        frames += [
            ethernet(ipv4("10.1.0.1", "10.0.0.2", tcp(port, 80, flags=SYN))),
            ethernet(ipv4("10.1.0.1", "10.0.0.2", tcp(port, 80, bytes(i * 7 % 251 for i in range(length))))),
            ethernet(ipv4("10.0.0.2", "10.1.0.1", tcp(80, port, b"answer" * number, flags=ACK | FIN))),
            ethernet(ipv6("2001:db8::1", "2001:db9::1", tcp(port, 81, b"x" * length))),
            ethernet(ipv4("10.1.0.1", "10.0.0.2", tcp(port, 79, b"another port"))),
        ]
    results = []
    for programs in both:
        before = programs.counters()
        verdicts = [bpf.run_packet(programs.descriptors[program], frame)[0] for frame in frames]
        after = programs.counters()
        results.append(
            (verdicts, without_time(captured(programs)), {name: after[name] - before[name] for name in after})
        )
    assert results[0] == results[1]
    assert len(results[0][1]) > 30
    assert results[0][2]["bytes"] > 8000


def stream_of(segments: Iterable[dict[str, Any]]) -> bytes:
    """What they carry, each byte once: a busy loopback sends some again."""
    carrying = [one for one in segments if one["payload"]]
    begin = min((one["seq"] for one in carrying), default=0)
    found = bytearray(max((one["seq"] - begin + len(one["payload"]) for one in carrying), default=0))
    for one in carrying:
        at = one["seq"] - begin
        found[at : at + len(one["payload"])] = one["payload"]
    return bytes(found)


def test_the_same_records_from_a_live_exchange(both: list[Programs]) -> None:
    """All four programs of both sets attached at once: sockets, loopback's ingress, and one connection of our own."""
    cgroup = find_cgroup2()
    need(cgroup is not None, "needs cgroup v2")
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    request, answer = b"GET / HTTP/1.1\r\n\r\n", os.urandom(200_000)

    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100) == request
                connection.sendall(answer)

    # one filter on the socket hook, one on the interface
    prepare(both, Rule(0, [(port, port)]), Rule(1, [(port, port)], interface="lo"))
    before = [programs.counters() for programs in both]
    thread = threading.Thread(target=serve)
    thread.start()
    with contextlib.ExitStack() as attached, server:
        root = os.open(str(cgroup), os.O_RDONLY | os.O_DIRECTORY)
        attached.callback(os.close, root)
        for programs in both:
            for egress, way in enumerate(("ingress", "egress")):
                link = bpf.link_cgroup(programs.descriptors[f"socket_{way}"], root, bool(egress))
                attached.callback(os.close, link)
            try:
                link = bpf.link_tcx(programs.descriptors["tc_ingress"], socket.if_nametoindex("lo"), False)
            except OSError as error:
                need(False, f"needs TCX links (Linux 6.6): {error}")
            attached.callback(os.close, link)
        for mark in (0, OWN_MARK):  # a client, then a connection of our own whose times are wanted
            client = socket.socket()
            with client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                cookie = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, 57, 8), "little")  # SO_COOKIE
                for programs in both:
                    programs.time_socket(cookie, bool(mark))
                client.connect(("127.0.0.1", port))
                client.sendall(request)
                received = b""
                while data := client.recv(1 << 16):
                    received += data
                assert received == answer
        thread.join()
    seen = [captured(programs) for programs in both]
    first, second = map(without_time, seen)
    # both ends, and both hooks, run at once: which of them comes first into a ring is nobody's promise
    assert sorted(map(repr, first)) == sorted(map(repr, second))
    for view in (1 << 0, 1 << 1):
        up, down = (stream_of(s for s in first if s["direction"] == way and s["filters"] == view) for way in (0, 1))
        assert (up, len(down)) == (request, len(answer)), f"filter {view}"
        assert down == answer
    timings = [[timing[:-1] for timing in records.timings] for records in seen]
    assert timings[0] == timings[1]
    # what was sent again, as a busy loopback does, is there twice
    assert sum(length for _, direction, _, length, _ in timings[0] if direction == 1) >= len(answer)
    grown = [
        {name: programs.counters()[name] - old[name] for name in old}
        for programs, old in zip(both, before, strict=True)
    ]
    assert grown[0] == grown[1]


# --- which is taken ---------------------------------------------------------------------------------------------------


def test_where_bcc_cannot_compile_the_file_is_taken(root_user: None, folder: Path, tmp_path: Path) -> None:
    """As with a bcc that is too old: it can be imported, and fails."""
    crippled = tmp_path / "bpf"
    shutil.copytree(folder, crippled)
    (crippled / "include/linux/kconfig.h").unlink()  # bcc insists on it; it is no part of the program
    with environment(SHADOWD_BPF_DIR=str(crippled)):
        programs = load(1 << 20, OWN_MARK)
        assert programs.loader == "prebuilt"
        programs.close()
        with pytest.raises(PlatformError, match="could not be loaded"):
            load(1 << 20, OWN_MARK, "bcc")


def test_bcc_comes_first(root_user: None, folder: Path) -> None:
    with environment(SHADOWD_BPF_DIR=str(folder)):
        programs = load(1 << 20, OWN_MARK, "auto")
        assert programs.loader == "bcc"
        programs.close()


def test_in_a_package_the_file_comes_first(
    root_user: None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for damaged, taken in ((False, "prebuilt"), (True, "bcc")):
        package = tmp_path / taken
        shutil.copytree(folder, package)
        if damaged:
            (package / "shadowd.bytecode").write_bytes(b"no bytecode\n")
        monkeypatch.setattr(programs_module, "PACKAGED", package)
        with environment(SHADOWD_BPF_DIR=str(package)):
            programs = load(1 << 20, OWN_MARK, "auto")
        assert programs.loader == taken
        programs.close()


def test_an_unknown_loader_is_refused() -> None:
    with environment(SHADOWD_LOADER="clang"), pytest.raises(PlatformError, match="no loader 'clang' — choose one of"):
        load(1 << 20, OWN_MARK)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_building_needs_no_privilege_and_gives_the_same_bytes(
    root_user: None, bcc_python: str, good: bytes, tmp_path: Path
) -> None:
    """A container build may not load programs; nothing reaches the kernel here."""
    output = tmp_path / "out" / "file"
    output.parent.mkdir()
    for folder in (tmp_path, *tmp_path.parents):  # the other user has to come in
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    output.parent.chmod(0o777)
    build(bcc_python, output, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
          "--inh-caps=-all")  # fmt: skip
    assert output.read_bytes() == good


def test_variants_differ_by_the_helper_alone(good: bytes) -> None:
    """get_netns_cookie (122) in the one, skb_cgroup_id (79) in the other."""
    variants = bytecode.decode_untrusted(good)["variants"]

    def helpers(variant: str, program: str) -> set[int]:
        code = bytecode.instructions_of(variants[variant][program])
        found = set()
        for at in range(0, len(code), 8):
            opcode, registers, _, immediate = bytecode.INSTRUCTION.unpack_from(code, at)
            if opcode == 0x85 and not registers >> 4:  # BPF_CALL of a helper
                found.add(immediate)
        return found

    for program in PROGRAMS:
        new, old = helpers("cookie", program), helpers("cgroup", program)
        on_socket = program.startswith("socket")
        assert (new - old, old - new) == (({122}, {79}) if on_socket else (set(), set())), program


def test_every_map_is_as_the_abi_says(good: bytes) -> None:
    maps = bytecode.decode_untrusted(good)["maps"]
    assert {name: (made["key"], made["value"]) for name, made in maps.items()} == abi.MAPS


@pytest.mark.parametrize("script", ["loader.py", "bytecode.py"])
def test_children_run_under_old_interpreters(script: str) -> None:
    tree = ast.parse((ROOT / "shadowd/capture" / script).read_text(), feature_version=(3, 8))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names
    assert not [name for name in names if name.startswith("shadowd")]
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def body_of(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data.partition(b"\n")[2]))


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "not a file of shadowd's bytecode"),
    "cut in the first line": (lambda data: data[:30], "not a file of shadowd's bytecode"),
    "another file": (lambda data: b"\x7fELF" + bytes(1000), "not a file of shadowd's bytecode"),
    "a later format": (lambda data: data.replace(b" 3 ", b" 4 ", 1), "has format 4, this shadowd reads 3; make"),
    "half of it": (lambda data: data[: len(data) // 2], "damaged or cut off"),
    "without its last byte": (lambda data: data[:-1], "damaged or cut off"),
    "another ABI": (lambda data: bytecode.encode({**body_of(data), "abi": 7}), "built for ABI 7, this shadowd has 4"),
    "other sources": (lambda data: bytecode.encode({**body_of(data), "source": "0" * 64}), "built from other sources"),
    "no maps": (lambda data: bytecode.encode({**body_of(data), "maps": {}}), "not what the format says"),
    "too large": (lambda data: data + bytes(bytecode.FILE_LIMIT), "larger than 8 MB"),
}


@pytest.mark.parametrize("description", BAD)
def test_a_bad_file_is_one_clear_line(
    description: str, root_user: None, folder: Path, good: bytes, tmp_path: Path
) -> None:
    """Through the real child, as the daemon's start would show it."""
    damage, expected = BAD[description]
    broken = tmp_path / "bpf"
    shutil.copytree(folder, broken)
    (broken / "shadowd.bytecode").write_bytes(damage(good))
    with environment(SHADOWD_BPF_DIR=str(broken)), pytest.raises(PlatformError) as told:
        load(1 << 20, OWN_MARK, "prebuilt")
    assert expected in str(told.value)
    assert "\n" not in str(told.value)
    assert str(broken / "shadowd.bytecode") in str(told.value)


def test_a_program_that_the_verifier_refuses_shows_its_words(root_user: None, good: bytes) -> None:
    body = bytecode.decode_untrusted(good)
    for programs in body["variants"].values():  # exit without a return value
        programs["tc_egress"].update(code=base64.b64encode(b"\x95" + bytes(7)).decode(), maps=[])
    open_before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(bytecode.BytecodeError, match="refuses the program tc_egress") as told:
        bytecode.load(bytecode.decode_untrusted(bytecode.encode(body)), 1 << 20)
    assert "R0 !read_ok" in told.value.log
    assert set(os.listdir("/proc/self/fd")) == open_before, "nothing stays open"


SMALL: dict[str, Any] = {
    "abi": 1,
    "source": "",
    "maps": {"m": {"type": 2, "key": 4, "value": 8, "entries": 1, "flags": 0}},
    "variants": {
        variant: {
            "p": {
                "type": 3,
                "license": "GPL",
                "maps": [[0, "m"]],
                "code": base64.b64encode(b"\x18\x11" + bytes(14) + b"\x95" + bytes(7)).decode(),
            }
        }
        for variant in bytecode.VARIANTS
    },
    "probes": {},
    "probe_maps": ["m"],
}
SMALL["probes"]["q"] = {**SMALL["variants"]["cookie"]["p"], "type": 2}


def test_the_small_body_is_a_good_one() -> None:
    assert bytecode.decode_untrusted(bytecode.encode(SMALL)) == SMALL


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data(), value=json_values)
def test_whatever_stands_in_a_place_is_checked(data: st.DataObject, value: Any) -> None:
    """Any part replaced by anything: still a body with all that ``load`` takes, or our own error."""
    body = json.loads(json.dumps(SMALL))
    place: Any = body
    while True:
        keys: list[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], (dict, list)) and place[key]) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    try:
        found = bytecode.decode_untrusted(bytecode.encode(body))
    except bytecode.BytecodeError:
        return
    for variant in bytecode.VARIANTS:
        for program in found["variants"][variant].values():
            code = bytecode.instructions_of(program)
            for index, name in program["maps"]:
                assert code[index * 8] == bytecode.LOAD_64
                assert name in found["maps"]
    for program in found["probes"].values():
        assert program["type"] == 2
        assert {name for _, name in program["maps"]} <= set(found["maps"])
    for made in found["maps"].values():
        assert all(0 <= made[field] < 1 << 32 for field in ("type", "key", "value", "entries", "flags"))


@given(st.binary(max_size=300))
@example(b"shadowd-bytecode 3 \n")
@example(b"shadowd-bytecode 3 " + b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n")
def test_any_bytes_give_our_own_error(data: bytes) -> None:
    with pytest.raises(bytecode.BytecodeError):
        bytecode.decode_untrusted(data)
