"""A target as the operator writes it: a URL, its role, and how TLS to it is verified."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from shadowd.config.fields import (
    Fault,
    Strict,
    absolute_path,
    boolean,
    choice,
    fault,
    fault_list,
    optional,
    shown,
    text,
)

DEFAULT_PORTS = {"http": 80, "https": 443, "h2c": 80, "h2": 443}
TLS_SCHEMES = ("https", "h2")
TLS_OPTIONS = ("ca", "insecure", "client_cert", "client_key", "server_name")
# RFC 1123 §2.1 and RFC 1035 §2.3.4; the underscore is not a host name's but is common in container networks
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_FORM = "write it as http://host:port, https://host:port, h2c://host:port, h2://host:port or tcp://host:port"
_HOST_LIMIT = 253  # RFC 1035 §2.3.4, without the leading length and the trailing root label


def parse_url(value: object) -> tuple[str, str, int]:
    """(scheme, host, port) of a target's URL; the host is lower-case and without brackets. Raises a fault."""
    url = text(value)
    found = _URL.fullmatch(url)
    if not found:
        raise fault(f"{shown(url)} is not a URL", _FORM)
    scheme, rest = found[1].lower(), found[2]
    if scheme not in (*DEFAULT_PORTS, "tcp"):
        raise fault(f"scheme {shown(scheme)} is not known", _FORM)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:  # not repeated: it holds a password
        raise fault("the URL names a user", "leave out 'user:password@'; set a header with set_header instead")
    if rest[len(authority) :] not in ("", "/"):
        raise fault(f"{shown(url)} has a path", "leave it out: requests keep the path production's client sent")
    host, port = _split(authority, url)
    if port is None:
        if scheme not in DEFAULT_PORTS:
            raise fault(f"{shown(url)} has no port", "tcp:// needs one, such as tcp://shadow:6379")
        return scheme, host, DEFAULT_PORTS[scheme]
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise fault(f"{shown(port)} in {shown(url)} is not a port", "ports are 1 to 65535")
    return scheme, host, int(port)


def _split(authority: str, url: str) -> tuple[str, str | None]:
    """Host and port text of an authority (RFC 3986 §3.2.2, §3.2.3)."""
    if authority.startswith("["):
        inner, bracket, rest = authority[1:].partition("]")
        try:
            # RFC 6874: the zone of a link-local address follows '%25'
            address = ipaddress.IPv6Address(inner.replace("%25", "%"))
        except ValueError:
            raise fault(
                f"{shown(inner)} in {shown(url)} is not an IPv6 address", "such as http://[2001:db8::1]:80"
            ) from None
        if not bracket or (rest and not rest.startswith(":")):
            raise fault(f"{shown(url)} is not a URL", "such as http://[2001:db8::1]:80")
        return str(address), rest[1:] if rest else None
    if authority.count(":") > 1:
        raise fault(f"{shown(url)} is not a URL", "put an IPv6 address in brackets: http://[2001:db8::1]:80")
    host, colon, port = authority.partition(":")
    if not host:
        raise fault(f"{shown(url)} has no host", _FORM)
    if not _HOST.fullmatch(host) or len(host) > _HOST_LIMIT or _misshapen_ipv4(host):
        raise fault(f"{shown(host)} is not a host", "give a name, an IPv4 address, or an IPv6 address in brackets")
    return host.lower(), port if colon else None


def _misshapen_ipv4(host: str) -> bool:
    """Only digits and dots, but no address: resolvers read ``10.1`` and ``300.0.0.1`` in surprising ways."""
    if not re.fullmatch(r"[0-9.]+", host):
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


class TargetSpec(Strict):
    """Where to replay. ``url`` is normalised: lower-case, the port always written, no path."""

    url: str
    role: Annotated[str, BeforeValidator(choice("candidate", "baseline"))] = "candidate"
    ca: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    insecure: Annotated[bool, BeforeValidator(boolean)] = False
    client_cert: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    client_key: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    to_protocol: Annotated[str, BeforeValidator(choice("auto", "http1", "http2"))] = "auto"
    server_name: Annotated[str | None, BeforeValidator(optional(text))] = Field(default=None, validate_default=True)

    @classmethod
    def expand(cls, value: object) -> object:
        """A target may be written as its URL alone."""
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url", mode="before")
    @classmethod
    def _normalise(cls, value: object) -> str:
        scheme, host, port = parse_url(value)
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @field_validator("server_name", mode="after")
    @classmethod
    def _rules(cls, name: str | None, info: Any) -> str | None:
        """Runs as the last field, whatever became of the others: ``info.data`` holds those that are well."""
        given = info.data
        faults = []
        scheme = given.get("url", "").partition(":")[0]
        if given.get("to_protocol") == "http1" and scheme in ("h2", "h2c"):
            faults.append(Fault("to_protocol", f"http1 is not what {scheme}:// speaks", "write http:// or https://"))
        if given.get("to_protocol", "auto") != "auto" and scheme == "tcp":
            faults.append(Fault("to_protocol", "says nothing to a tcp:// target", "remove it"))
        if given.get("url", "https:").partition(":")[0] not in TLS_SCHEMES:
            used = [key for key in TLS_OPTIONS if given.get(key)] + (["server_name"] if name else [])
            faults += [Fault(key, "is for https:// targets only", "remove it or use https://") for key in used]
        if given.get("client_key") and "client_cert" in given and not given["client_cert"]:
            faults.append(Fault("client_key", "has no client_cert", "give the certificate that belongs to the key"))
        if given.get("insecure") and given.get("ca"):
            faults.append(Fault("insecure", "and ca contradict each other", "give one of them"))
        if name is not None and (not _HOST.fullmatch(name) or len(name) > _HOST_LIMIT):
            faults.append(Fault("server_name", f"{shown(name)} is not a host name", "such as api.example.com"))
        if faults:
            raise fault_list(faults)
        return name

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]

    @property
    def host(self) -> str:
        """Name or address, IPv6 without brackets."""
        return parse_url(self.url)[1]

    @property
    def port(self) -> int:
        return parse_url(self.url)[2]

    def to_wire(self) -> dict[str, Any]:
        """Plain values; what is not set is left out."""
        spoken = {} if self.to_protocol == "auto" else {"to_protocol": self.to_protocol}
        return (
            {"url": self.url, "role": self.role}
            | spoken
            | {key: getattr(self, key) for key in TLS_OPTIONS if getattr(self, key)}
        )
