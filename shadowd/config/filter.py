"""A filter as the operator writes it: what to mirror, where to, how much of it.

One model serves the configuration file, the control socket and the state file: every field takes the form a person
writes (``"10%"``, ``"5s"``, ``"16MB"``) and the normal form. ``to_wire`` gives the normal form in plain values,
``from_wire`` reads either, and takes ``to``, ``baseline`` and the TLS options as short forms for ``targets``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from shadowd.capture.pods import PodSelector
from shadowd.config.compare import CompareFields
from shadowd.config.fields import (
    TOKEN,
    Fault,
    absolute_path,
    boolean,
    choice,
    cidrs,
    duration,
    either,
    fault,
    fault_list,
    header_lines,
    header_name,
    integer,
    models,
    optional,
    pattern,
    per_second,
    port_ranges,
    port_texts,
    rate,
    shown,
    size,
    text,
    texts,
)
from shadowd.config.target import TLS_OPTIONS, TLS_SCHEMES, TargetSpec
from shadowd.policy.jsonedit import MAX_EDITS, JsonEdit

MAX_TARGETS = 16  # of one filter: a candidate, a baseline and a few more; every one costs connections
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")  # RFC 9110 §9, RFC 5789
_LIKE_OTHERS = ("BDELETE",)  # of Exchange's WebDAV: close to one of those, and no mistake
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")  # 63: a DNS label, so that it fits everywhere
_INTERFACE_LIMIT = 15  # IFNAMSIZ of linux/if.h, without the NUL
_FRAMING = ("content-length", "transfer-encoding")  # RFC 9112 §6: changing one makes another request of the rest
_MARK = "x-shadowd"  # policy.LOOP_HEADER
_SECRET = re.compile(r"authorization|cookie|token|secret|password|api-?key|signature", re.IGNORECASE)
REDACTED = "[redacted]"
OWNERS = ("cgroup", "unit", "container", "pod", "process", "pid")  # of the service; one at most

Paths = Annotated[str | None, BeforeValidator(optional(pattern))]


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise fault(
            f"{shown(value)} is not a name", "1 to 63 of a-z, 0-9, - and _, with a letter or digit at both ends"
        )
    return value


def _hook(value: object) -> str:
    hook = text(value)
    interface = hook.removeprefix("tc:")
    if hook == "socket":
        return hook
    if interface == hook or not interface:
        raise fault(f"{shown(hook)} is not a hook", "give socket, or tc:INTERFACE such as tc:eth0 or tc:veth*")
    if not re.fullmatch(r"[^/\s:]{1,64}", interface):
        raise fault(f"{shown(interface)} is not an interface or a glob", "such as tc:eth0 or tc:veth*")
    if not set(interface) & set("*?[") and len(interface) > _INTERFACE_LIMIT:
        raise fault(f"{shown(interface)} is too long", f"interface names have at most {_INTERFACE_LIMIT} characters")
    return hook


def _cgroup(value: object) -> str:
    path = text(value)
    if ".." in path.split("/") or not path.strip("/"):
        raise fault(f"{shown(path)} is not a cgroup", "give a path such as system.slice/nginx.service")
    return path


def _container(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[0-9a-fA-F]{6,64}|pod:[0-9a-fA-F-]{16,64}", name):
        raise fault(
            f"{shown(name)} is not a container", "give 6 or more digits of its ID (docker ps, crictl ps), or pod:UID"
        )
    return name


def _pod(value: object) -> str:
    """``namespace=shop,app=checkout``, or a table of namespace, name and labels."""
    if isinstance(value, Mapping):
        labels = value.get("labels", {})
        if not isinstance(labels, Mapping) or set(value) - {"namespace", "name", "labels"}:
            raise fault("is not a pod", "give namespace, name and labels = { app = … }")
        own = [f"{key}={value[key]}" for key in ("namespace", "name") if key in value]
        value = ",".join(own + [f"label:{key}={item}" for key, item in labels.items()])
    try:
        return str(PodSelector.parse(text(value)))
    except ValueError as error:
        what, _, remedy = str(error).partition(": ")
        raise fault(what, remedy) from None


def _unit(value: object) -> str:
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}", name):  # systemd.unit(5)
        raise fault(f"{shown(name)} is not a unit", "give a name such as checkout.service")
    return name


def _process(value: object) -> str:
    name = text(value)
    if "/" in name or not name.isprintable() or len(name) > 255:
        raise fault(f"{shown(name)} is not a process's name", "give the name alone, such as nginx")
    return name


def _misspelt(method: str) -> str:
    """The method that is meant, where another one is written that hardly anybody has; else ""."""
    if method in METHODS or method in _LIKE_OTHERS:
        return ""
    mixed = [known for known in METHODS if sorted(known) == sorted(method.upper())]
    return next(iter(mixed or difflib.get_close_matches(method.upper(), METHODS, 1, 0.75)), "")


def _methods(value: object) -> str | tuple[str, ...]:
    if value in ("safe", "any"):
        return str(value)
    wanted: dict[str, None] = {}
    for item in texts(value):
        for method in (part.strip() for part in item.split(",")):
            if not TOKEN.fullmatch(method):
                raise fault(f"{shown(method)} is not a method", "give safe, any, or a list such as GET,POST")
            if method in ("safe", "any"):
                raise fault(f"{shown(method)} stands among methods", "give it alone")
            if method.upper() in METHODS and method not in METHODS:  # methods are case-sensitive (RFC 9110 §9.1)
                raise fault(f"{shown(method)} is in lower case", f"did you mean {method.upper()}?")
            if meant := _misspelt(method):
                raise fault(f"{shown(method)} is no method of HTTP", f"did you mean {meant}?")
            wanted[method] = None
    if not wanted:
        raise fault("is empty", "give safe, any, or a list such as GET,POST")
    if "WEBSOCKET" in wanted and "GET" not in wanted:
        raise fault("WEBSOCKET stands without GET, by which it begins", "add GET")
    return tuple(wanted)


def _json_edits(value: object) -> tuple[str, ...]:
    edits = tuple(texts(value))
    if len(edits) > MAX_EDITS:
        raise fault(f"has {len(edits)} edits", f"give at most {MAX_EDITS}")
    for edit in edits:
        try:
            JsonEdit(edit)
        except ValueError as error:
            what, _, remedy = str(error).partition(": ")
            raise fault(what, remedy) from None
    return edits


def _regex_value(_: str, value: str) -> str:
    return pattern(value)


def _plain_value(name: str, value: str) -> str:
    _changeable(name)
    return value


def _changeable(name: str) -> None:
    if name.lower() in _FRAMING:
        raise fault(f"{name} cannot be changed", "it says where the request ends")
    if name.lower() == _MARK:
        raise fault(f"{name} cannot be changed", "it marks replayed requests, so that they are never mirrored again")


def _removed(value: object) -> tuple[str, ...]:
    names = tuple(header_name(item) for item in texts(value))
    for name in names:
        _changeable(name)
        if name.lower() == "host":
            raise fault("Host cannot be removed", "HTTP/1.1 requires it (RFC 9112 §3.2); set it with set_header")
    return names


def _targets(value: object) -> list[TargetSpec]:
    targets = models(TargetSpec, "targets", MAX_TARGETS)([value] if isinstance(value, (str, Mapping)) else value)
    # a candidate and the baseline may be one host: requests are changed on the way to the candidate alone
    places = [(target.url, target.role) for target in targets]
    twice = sorted({url for url, role in places if places.count((url, role)) > 1})
    if twice:
        raise fault(f"{', '.join(twice)} is given more than once", "name every target once")
    return targets


class FilterSpec(CompareFields):
    """What one filter does; `shadowctl filter add --help` explains each field."""

    name: Annotated[str, BeforeValidator(_name)]
    hook: Annotated[str, BeforeValidator(_hook)] = "socket"
    direction: Annotated[str, BeforeValidator(choice("inbound", "outbound"))] = "inbound"
    ports: Annotated[tuple[tuple[int, int], ...], BeforeValidator(port_ranges), PlainSerializer(port_texts)] = ()
    client_cidrs: Annotated[tuple[str, ...], BeforeValidator(cidrs)] = ()
    server_cidrs: Annotated[tuple[str, ...], BeforeValidator(cidrs)] = ()
    cgroup: Annotated[str | None, BeforeValidator(optional(_cgroup))] = None
    unit: Annotated[str | None, BeforeValidator(optional(_unit))] = None
    container: Annotated[str | None, BeforeValidator(optional(_container))] = None
    pod: Annotated[str | None, BeforeValidator(optional(_pod))] = None
    process: Annotated[str | None, BeforeValidator(optional(_process))] = None
    pid: Annotated[int | None, BeforeValidator(optional(integer(1, 1 << 22)))] = None  # PID_MAX_LIMIT of the kernel
    tls: Annotated[str, BeforeValidator(choice("off", "decrypt"))] = "off"
    tls_keylog: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    sample: Annotated[float, BeforeValidator(rate)] = 1.0
    protocol: Annotated[str, BeforeValidator(choice("auto", "http", "raw"))] = "auto"
    targets: Annotated[tuple[TargetSpec, ...], BeforeValidator(_targets)] = ()
    methods: Annotated[str | tuple[str, ...], BeforeValidator(_methods)] = "safe"
    websocket: Annotated[bool, BeforeValidator(boolean)] = False
    match_path: Paths = None
    exclude_path: Paths = None
    match_header: Annotated[tuple[str, ...], BeforeValidator(header_lines(_regex_value))] = ()
    set_header: Annotated[tuple[str, ...], BeforeValidator(header_lines(_plain_value))] = ()
    remove_header: Annotated[tuple[str, ...], BeforeValidator(_removed)] = ()
    set_json: Annotated[tuple[str, ...], BeforeValidator(_json_edits)] = ()
    preserve_host: Annotated[bool, BeforeValidator(boolean)] = False
    allow_writes: Annotated[bool, BeforeValidator(boolean)] = False
    allow_self: Annotated[bool, BeforeValidator(boolean)] = False
    proxy_protocol: Annotated[str, BeforeValidator(choice("strip", "forward"))] = "strip"
    order: Annotated[str, BeforeValidator(choice("auto", "connection", "none"))] = "auto"
    # bounds of the limits below: under 10 ms nothing can be answered, over an hour nothing is waited for
    max_lag: Annotated[float, BeforeValidator(duration(0.01, 3600))] = 5.0
    max_rps: Annotated[float | None, BeforeValidator(per_second)] = None
    max_connections: Annotated[int, BeforeValidator(integer(1, 1_000_000))] = 1024
    max_in_flight: Annotated[int, BeforeValidator(integer(1, 1_000_000))] = 4096
    timeout: Annotated[float, BeforeValidator(duration(0.01, 3600))] = 10.0
    stream_window: Annotated[float, BeforeValidator(duration(0.1, 86400))] = 600.0
    max_buffered: Annotated[int, BeforeValidator(size(64 << 10, 64 << 30))] = 16 << 20
    follow: Annotated[bool, BeforeValidator(boolean)] = False
    paused: Annotated[bool, BeforeValidator(boolean)] = Field(default=False, validate_default=True)

    @field_validator("paused", mode="after")
    @classmethod
    def _rules(cls, paused: bool, info: Any) -> bool:
        """What holds between fields. Runs last, whatever became of the others: ``info.data`` holds the good ones."""
        faults = _selection_faults(info.data) + _protocol_faults(info.data)
        if info.data.get("follow") and not paused:
            faults.append(
                Fault("follow", "is for a filter that is paused", "set paused (--paused) too, or leave it out")
            )
        if faults:
            raise fault_list(faults)
        return paused

    @property
    def captures(self) -> bool:
        """Its connections are read: to be mirrored, or to be followed meanwhile."""
        return not self.paused or self.follow

    @classmethod
    def expand(cls, value: object) -> object:
        """``to``, ``baseline``: URLs that replace the targets of that role (one that stays keeps its TLS options);
        ``ca``, ``insecure``, ``client_cert``, ``client_key``, ``server_name``: for every https target;
        ``to_protocol``: for every target."""
        shorts = ("to", "baseline", "to_protocol", *TLS_OPTIONS)
        if not isinstance(value, Mapping) or not any(key in value for key in shorts):
            return value
        table = {key: item for key, item in value.items() if key not in shorts}
        given = table.get("targets", [])
        targets = [TargetSpec.expand(item) for item in (given if isinstance(given, (list, tuple)) else [given])]
        if not all(isinstance(target, Mapping) for target in targets):
            return table  # the field's own parser says what is wrong
        tables: list[dict[str, Any]] = [dict(target) for target in targets if isinstance(target, Mapping)]
        for short, role in (("to", "candidate"), ("baseline", "baseline")):
            if short in value:
                urls = value[short] if isinstance(value[short], (list, tuple)) else [value[short]]
                tables = _replaced(tables, [url for url in urls if url != ""], role)
        options = {key: value[key] for key in TLS_OPTIONS if key in value}
        if "to_protocol" in value:
            for target in tables:
                target["to_protocol"] = value["to_protocol"] or "auto"
        https = [target for target in tables if str(target.get("url")).lower().partition(":")[0] in TLS_SCHEMES]
        for target in https or tables:  # without any the fault is told by the target
            target.update(options)
        return {**table, "targets": tables}

    def to_wire(self, redact: bool = False) -> dict[str, Any]:
        """Plain str, int, float, list and dict; durations in seconds, sizes in bytes, ports as text. ``redact`` hides
        the values of headers that carry secrets: for what is shown, not for what is stored."""
        wire = self.model_dump(mode="json")
        wire["targets"] = [target.to_wire() for target in self.targets]
        if redact:
            wire["set_header"] = [_redacted(line) for line in self.set_header]
        return wire


def _redacted(line: str) -> str:
    name = line.partition(":")[0]
    return f"{name}: {REDACTED}" if _SECRET.search(name) else line


def _replaced(tables: list[dict[str, Any]], urls: list[Any], role: str) -> list[dict[str, Any]]:
    before = {str(target.get("url")): target for target in tables if target.get("role", "candidate") == role}
    fresh = [
        {**before.get(_normal(url), {}), "url": url, "role": role} if isinstance(url, str) else {"url": url}
        for url in urls
    ]
    kept = [target for target in tables if target.get("role", "candidate") != role]
    return fresh + kept if role == "candidate" else kept + fresh


def _normal(url: str) -> str:
    try:
        return TargetSpec(url=url).url
    except ValueError:  # told when the target itself is built
        return url


def _selection_faults(given: dict[str, Any]) -> list[Fault]:
    faults = []
    owners = [key for key in OWNERS if given.get(key)]
    if not given.get("ports", True) and not owners:
        faults.append(
            Fault(
                "ports", "is missing", "give the service's ports (--port), or a cgroup (--cgroup), unit, pod or process"
            )
        )
    if len(owners) > 1:
        faults.append(Fault(owners[1], f"cannot be combined with {owners[0]}", "give one of them"))
    if owners and given.get("hook", "socket") != "socket":
        faults.append(
            Fault(owners[0], "works at the socket hook only", "leave out hook, or select by ports and networks")
        )
    if not given.get("targets", True):
        faults.append(Fault("targets", "is missing", "say where to replay (--to), such as http://shadow:8080"))
    return faults


def _protocol_faults(given: dict[str, Any]) -> list[Fault]:
    faults = []
    protocol = given.get("protocol", "")
    schemes = {target.scheme for target in given.get("targets", ())}
    if (protocol == "raw" or "tcp" in schemes) and given.get("allow_writes", True) is False:
        faults.append(
            Fault("allow_writes", "is needed for raw: what is replayed may write (SET, INSERT, ...)",
                  "set it (--allow-writes) if the shadow may be written to")
        )  # fmt: skip
    if protocol == "http" and "tcp" in schemes:
        faults.append(Fault("targets", "tcp:// cannot take http", "use http:// or https://, or protocol raw"))
    if protocol == "raw" and schemes - {"tcp"}:
        faults.append(
            Fault("targets", f"{either(sorted(schemes - {'tcp'}))}:// cannot take raw", "use tcp://host:port")
        )
    if protocol == "raw":
        http_only = ("match_path", "exclude_path", "match_header", "set_header", "remove_header", "set_json",
                     "preserve_host", "websocket")  # fmt: skip
        used = [key for key in http_only if given.get(key)] + ["methods"] * (given.get("methods", "safe") != "safe")
        faults += [Fault(key, "works on HTTP requests only", "leave it out with protocol raw") for key in used]
    return faults
