"""The configuration file and its drop-ins: TOML in, one checked ``Config`` out, or everything that is wrong at once.

The parsers of single values are in ``fieldtypes``, a filter and its targets in ``filterspec`` and ``targetspec``.
Nothing on the hot path imports this module: pydantic stays out of the workers.
"""

from __future__ import annotations

import os
import re
import socket as _socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from shadowd.config.fields import (
    Fault,
    Faults,
    Strict,
    absolute_path,
    boolean,
    choice,
    cores,
    duration,
    escaped,
    fault,
    fault_list,
    integer,
    models,
    optional,
    power_of_two,
    rate,
    shown,
    size,
    text,
    texts,
    validated,
)
from shadowd.config.filter import FilterSpec
from shadowd.config.patterns import tried
from shadowd.config.target import TargetSpec
from shadowd.errors import ConfigError, ShadowdError
from shadowd.redact.names import words_of
from shadowd.redact.patterns import PATTERN_LIMIT, PATTERNS, compile_pattern

__all__ = ["DEFAULT_SOCKET", "DEFAULT_STATE_DIR", "Config", "FilterSpec", "TargetSpec", "load_config"]

DEFAULT_SOCKET = "/run/shadowd/shadowd.sock"  # also in control/client.py, which must not import pydantic
DEFAULT_STATE_DIR = "/var/lib/shadowd"
DEFAULT_HTTP = "127.0.0.1:9750"
MAX_FILTERS = 64  # one bit of a u64 each in bpf/abi.h
CONFIG_LIMIT = 4 << 20  # bytes of a file: 64 filters with every list full are below it
DROP_INS = "conf.d"
DROP_INS_LIMIT = 256  # files: four for each filter that the kernel program can hold
SOCKET_LIMIT = 107  # sun_path of unix(7), without the NUL
# The mark bit of our own sockets. No bit is free everywhere: kube-proxy has 0x4000 and 0x8000, Tailscale 0xff0000,
# Calico takes from 0x10000 upward, bit 31 is a sign to some tools. Bit 30 is the least used, hence configurable.
DEFAULT_MARK = 0x40000000
#: A worker at its limit is a core; three are left to production.
CORES_A_WORKER = 4
MAX_WORKERS = 64
_LOOP_KEY_SHORTEST = 16  # characters: 128 bits if they are random bytes, still guess-proof if they are hex (64 bits)


def _socket_path(value: object) -> str:
    path = absolute_path(value)
    if len(path.encode()) > SOCKET_LIMIT:
        raise fault(f"has {len(path.encode())} bytes", f"a socket's path has at most {SOCKET_LIMIT}")
    return path


def _node(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", name):
        raise fault(f"{shown(value)} is not a node name", "1 to 253 of letters, digits, '.', '-' and '_'")
    return name


def _this_node() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", _socket.gethostname())[:253] or "localhost"


def _group(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,255}", name):
        raise fault(f"{shown(value)} is not a group", "give a group's name or number")
    return name


def _loop_key(value: object) -> object:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str) or not _LOOP_KEY_SHORTEST <= len(value) <= 256:  # never repeated: it is a secret
        raise fault(
            "is not a usable key", f"give {_LOOP_KEY_SHORTEST} to 256 characters, such as `openssl rand -hex 32`"
        )
    return value


def _mark(value: object) -> int:
    number = value
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", value):
        number = int(value, 16)
    mark = integer(1, 0xFFFFFFFF)(number)
    if mark & (mark - 1):
        raise fault(f"{mark:#x} has more than one bit", "give one bit, such as 0x40000000")
    return mark


def _http(value: object) -> str:
    """Where verdicts and reports are served; empty for nowhere."""
    if value == "" or value is False:
        return ""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", text(value))
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise fault(f"{shown(value)} is not an address", "such as 127.0.0.1:9750, [::1]:9750, or '' for none")
    return found[0]


def _redact_names(value: object) -> tuple[str, ...]:
    names = texts(value)
    for name in names:
        if not words_of(name):
            raise fault(f"{shown(name)} is not a name", "give a name or a word of one, such as customer_key")
    return tuple(names)


def _redact_patterns(value: object) -> tuple[str, ...]:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list | tuple) or len(patterns) > PATTERNS:
        raise fault(f"{shown(value)} is not a list", f"give at most {PATTERNS} expressions")
    for one in patterns:
        if not isinstance(one, str) or not 0 < len(one) <= PATTERN_LIMIT:
            raise fault(f"{shown(one)} is not a regular expression", f"give 1 to {PATTERN_LIMIT} characters")
        try:
            compile_pattern(one)
            tried(one.encode("utf-8", "surrogateescape"), utf8=True)
        except ValueError as error:
            raise fault(f"{shown(one)} cannot be used", f"RE2 says: {escaped(str(error))}") from None
    return tuple(patterns)


def _workers(value: object) -> int:
    """1: in the daemon's own process."""
    if value == "auto":
        return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) // CORES_A_WORKER))
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise fault(f"{shown(value)} is not a number of workers", f"give 1 to {MAX_WORKERS}, or auto")
    return value


def _cpu_guard(value: object) -> float:
    return 1.0 if value in ("off", False) else rate(value)


class Config(Strict):
    """All of the daemon's settings; times in seconds, sizes in bytes."""

    # the daemon replaces its list of filters on reload
    model_config = ConfigDict(extra="forbid", frozen=False, hide_input_in_errors=True)

    _overrides: dict[str, Any] = PrivateAttr(default_factory=dict)

    socket: Annotated[str, BeforeValidator(_socket_path)] = DEFAULT_SOCKET
    socket_group: Annotated[str | None, BeforeValidator(optional(_group))] = None
    state_dir: Annotated[Path, BeforeValidator(lambda value: Path(absolute_path(str(value))))] = Path(DEFAULT_STATE_DIR)
    tls_attacher: Annotated[str, BeforeValidator(_socket_path)] = "/run/shadowd-tls/attacher.sock"
    node: Annotated[str, BeforeValidator(_node)] = Field(default_factory=_this_node)
    loop_key: Annotated[SecretStr | None, BeforeValidator(lambda v: None if v is None else _loop_key(v))] = None
    own_mark: Annotated[int, BeforeValidator(_mark)] = DEFAULT_MARK
    # processes that read rings and replay, each with a ring of its own; "auto": one for each four cores
    workers: Annotated[int, BeforeValidator(_workers)] = 1
    ring_bytes: Annotated[int, BeforeValidator(power_of_two(1 << 20, 256 << 20))] = 16 << 20
    # flows the daemon follows at once; as many as the kernel's flow map holds (MAX_FLOWS of bpf/abi.h)
    max_flows: Annotated[int, BeforeValidator(integer(16, 1 << 20))] = 65536
    max_buffered_total: Annotated[int, BeforeValidator(size(1 << 20, 64 << 30))] = 64 << 20
    dead_man_seconds: Annotated[float, BeforeValidator(duration(1, 60))] = 3.0
    # bytes of a response body that are compared as they are; longer ones by digest
    max_body: Annotated[int, BeforeValidator(size(1 << 10, 16 << 20))] = 256 << 10
    keep: Annotated[float, BeforeValidator(duration(60, 3650 * 86400))] = 14 * 86400.0
    max_size: Annotated[int, BeforeValidator(size(1 << 20, 1 << 40))] = 1 << 30
    # the daemon steps back when production wants the CPU: it sheds then, counted, and production does not wait
    nice: Annotated[int, BeforeValidator(integer(0, 19))] = 5
    # above so much of the host's CPU time, or of one core for the daemon itself, mirroring is shed
    cpu_guard: Annotated[float, BeforeValidator(_cpu_guard)] = 0.85
    cpu_max: Annotated[float, BeforeValidator(cores)] = 1.0
    # RssAnon: what the process itself leaves of it is the buffers'; beyond it requests are shed and answers compared by
    # digest
    memory_max: Annotated[int, BeforeValidator(size(8 << 20, 64 << 30))] = 256 << 20
    # after loading, keep CAP_NET_ADMIN alone; None: unless root (which by hand is there to see every process)
    least_privilege: Annotated[bool | None, BeforeValidator(optional(boolean))] = None
    http: Annotated[str, BeforeValidator(_http)] = DEFAULT_HTTP
    # off: an operator's file is taken up when the operator says so; on where files are replaced whole (ConfigMaps)
    reload_on_change: Annotated[bool, BeforeValidator(boolean)] = False
    # a second door without verdicts and reports, which may be open to the network
    monitor: Annotated[str, BeforeValidator(_http)] = ""
    # OpenTelemetry's names for generative AI are in flux: who does not want them to change can do without
    genai_metrics: Annotated[bool, BeforeValidator(boolean)] = True
    # folders of pods' logs, NAMESPACE_NAME_UID
    pod_logs: Annotated[str, BeforeValidator(absolute_path)] = "/var/log/pods"
    # the container runtime's socket, which knows pods' labels; "": where it usually is
    cri_socket: Annotated[str, BeforeValidator(lambda value: value and absolute_path(value))] = ""
    # beside those that are known: names whose values are secret, and RE2 expressions for what is
    redact_names: Annotated[tuple[str, ...], BeforeValidator(_redact_names)] = ()
    redact_patterns: Annotated[tuple[str, ...], BeforeValidator(_redact_patterns)] = ()
    # who can read it may read bodies over HTTP; made if it is not there
    http_token_file: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    # compile the capture program here by bcc, load what was compiled before, or whichever is there, in this order
    loader: Annotated[str, BeforeValidator(choice("auto", "bcc", "prebuilt"))] = "auto"
    log_format: Annotated[str, BeforeValidator(choice("text", "json"))] = "text"
    filters: Annotated[list[FilterSpec], BeforeValidator(models(FilterSpec, "filters", MAX_FILTERS))] = Field(
        default_factory=list
    )

    @field_validator("filters", mode="after")
    @classmethod
    def _names_are_unique(cls, filters: list[FilterSpec]) -> list[FilterSpec]:
        first: dict[str, int] = {}
        faults = []
        for index, spec in enumerate(filters):
            if first.setdefault(spec.name, index) != index:
                what = f"{spec.name!r} is the name of filters[{first[spec.name]}] too"
                faults.append(Fault(f"filters[{index}].name", what, "give every filter its own name"))
        if faults:
            raise fault_list(faults)
        return filters

    def with_overrides(self, **given: Any) -> Self:
        """The same with the options of the command line; None leaves a setting. Raises ConfigError."""
        changed = {name: getattr(self, name) for name in type(self).model_fields}
        overrides = {name: value for name, value in given.items() if value is not None}
        try:
            built = validated(type(self), changed | overrides)
        except Faults as found:
            raise _config_error(found.faults, "") from None
        built._overrides = overrides
        return built

    @property
    def overrides(self) -> dict[str, Any]:
        """What the command line gave: it goes before the file, at a reload too."""
        return self._overrides


def _config_error(faults: list[Fault], source: str) -> ConfigError:
    return ConfigError("\n".join(found.line(source) for found in faults))


def parse_config(document: str, source: str) -> Config:
    """``source`` is the file's name in messages. Raises ConfigError, one line ``file: key: what — hint`` a fault."""
    return _checked(_table(document, source), source)


def _table(document: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(document)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or a number of too many digits
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _config_error([Fault("", f"not TOML: {escaped(what)}", "correct the syntax there")], source) from None


def _checked(table: dict[str, Any], source: str) -> Config:
    try:
        return validated(Config, table)
    except Faults as found:
        raise _config_error(found.faults, source) from None


def config_files(path: Path | str) -> list[Path]:
    """The file and, in the order of their names, ``conf.d/*.toml`` beside it; hidden files are left out.

    Raises ShadowdError for a folder that cannot be read or has too many of them.
    """
    main = Path(path)
    folder = main.parent / DROP_INS
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return [main]
    except OSError as error:
        raise ShadowdError(f"{folder}: cannot be read: {error.strerror}", "check its permissions") from None
    if len(names) > DROP_INS_LIMIT:
        raise ShadowdError(f"{folder}: has {len(names)} files", f"at most {DROP_INS_LIMIT} are read: join some")
    return [main, *(folder / name for name in names)]


def load_config(path: Path | str) -> Config:
    """Read and check a file with its drop-ins: their filters are added, a setting that comes later wins.

    Raises ConfigError for what they say, a line a fault with its file's name; ShadowdError where one cannot be read.
    """
    tables, faults = [], []
    for file in config_files(path):
        try:
            tables.append((file, _table(_read(file), str(file))))
            _checked(tables[-1][1], str(file))  # each by itself, so that a fault is told by its place in its own file
        except ConfigError as error:
            faults.append(error.problem)
    if faults:
        raise ConfigError("\n".join(faults))
    merged: dict[str, Any] = {}
    filters: list[Any] = []
    named: dict[str, Path] = {}
    for file, table in tables:
        merged |= table
        for entry in table.get("filters", []):
            first = named.setdefault(entry["name"], file)
            if first != file:
                what = f"the filter {entry['name']!r} is in {first} too — give every filter its own name"
                faults.append(f"{file}: {what}")
            filters.append(entry)
    if faults:
        raise ConfigError("\n".join(faults))
    return _checked(merged | ({"filters": filters} if filters else {}), str(path))


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(CONFIG_LIMIT + 1)
    except OSError as error:
        raise ShadowdError(f"{file}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    if len(raw) > CONFIG_LIMIT:
        raise _config_error([Fault("", f"is larger than {CONFIG_LIMIT >> 20} MB", "is it the right file?")], str(file))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _config_error([Fault("", f"not UTF-8 at byte {error.start}", "TOML is UTF-8")], str(file)) from None


def fingerprint(path: Path | str) -> tuple[object, ...]:
    """Changes when a file of the configuration does: written, replaced, added, removed, or its symlink turned."""
    try:
        files = config_files(path)
    except ShadowdError as error:
        return (str(error),)
    return tuple((str(file), *_identity(file)) for file in files)


def _identity(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
