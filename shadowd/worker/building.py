"""From a filter's specification to what runs for it: its policy, the limits and certificates of its targets."""

from __future__ import annotations

import ssl
from typing import Any

from shadowd.config.document import FilterSpec, TargetSpec
from shadowd.config.target import TLS_SCHEMES
from shadowd.errors import UsageError
from shadowd.policy.jsonedit import JsonEdit
from shadowd.policy.policy import Policy, loop_value
from shadowd.replay.target import SECOND, Target, TargetLimits
from shadowd.worker.filters import Filter


def make_policy(spec: FilterSpec, node: str, secret: bytes | None) -> Policy:
    """Which requests, and how they are changed. ``secret`` signs the mark by which a loop is known."""
    methods: dict[str, Any] = {}
    if spec.methods == "any":
        methods["methods"] = None
    elif spec.methods != "safe":
        methods["methods"] = [method.encode() for method in spec.methods]
    return Policy(
        loop_value(node, spec.name, secret),
        secret,
        match_path=spec.match_path,
        exclude_path=spec.exclude_path,
        match_headers=[_header(text) for text in spec.match_header],
        set_headers=[_header(text) for text in spec.set_header],
        remove_headers=spec.remove_header,
        json_edits=[JsonEdit(text) for text in spec.set_json],
        preserve_host=spec.preserve_host,
        websocket=spec.websocket,
        **methods,
    )


def run_by(running: Filter, spec: FilterSpec, policy: Policy) -> None:
    """Let a filter run by a specification from now on; its targets apart."""
    running.policy = policy
    running.protocol = spec.protocol
    running.allow_writes = spec.allow_writes
    running.order = spec.order
    running.forward_proxy_header = spec.proxy_protocol == "forward"
    running.keylog = spec.tls_keylog or ""
    running.probed = spec.tls == "decrypt"
    running.following = spec.paused and spec.follow


def make_filter(spec: FilterSpec, policy: Policy) -> Filter:
    """Without targets."""
    running = Filter(spec.name, policy)
    run_by(running, spec, policy)
    return running


def make_target(running: Filter, wanted: TargetSpec, limits: TargetLimits) -> Target:
    """A target that joins a filter, with an account of its own there."""
    account = running.account.add_target(wanted.url, wanted.role)
    return Target(wanted.url, wanted.scheme, wanted.host, wanted.port, account, limits)


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip(), value.strip()


def limits_of(spec: FilterSpec) -> TargetLimits:
    """What each target of the filter may use."""
    return TargetLimits(
        timeout=int(spec.timeout * SECOND),
        max_lag=int(spec.max_lag * SECOND),
        max_rps=spec.max_rps,
        max_connections=spec.max_connections,
        max_in_flight=spec.max_in_flight,
        max_buffered=spec.max_buffered,
        stream_window=int(spec.stream_window * SECOND),
    )


def tls_contexts(wanted: TargetSpec) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """``Target.tls`` and ``Target.tls_streams``."""
    return _tls_context(wanted, False), _tls_context(wanted, True)


def _tls_context(wanted: TargetSpec, streams: bool) -> ssl.SSLContext | None:
    """Verification is on unless the operator turned it off. ``streams``: HTTP/2 is asked for, if it can be had."""
    if wanted.scheme not in TLS_SCHEMES:
        return None
    try:
        context = ssl.create_default_context(cafile=wanted.ca)
        if wanted.client_cert is not None:
            context.load_cert_chain(wanted.client_cert, wanted.client_key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{wanted.url}: a certificate file cannot be used: {error}", "give readable PEM files"
        ) from None
    http1 = [] if wanted.scheme == "h2" else ["http/1.1"]
    context.set_alpn_protocols(["h2", *http1] if streams else ["http/1.1"])
    if wanted.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
