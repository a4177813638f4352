"""Why nothing, or not everything, of a filter's traffic is mirrored: from the daemon's counters, in their order.

A request passes the filter's selection, the hook, the kernel's ring, the codec, the policy and the target; the first
place where it stops is the cause, so findings come in this order. Sans-IO: the daemon's views and the host's services
are arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shadowd.doctor.finding import Finding

View = Mapping[str, Any]

#: What makes clients of HTTP/2 begin new connections.
CONNECT_ANEW = "reload nginx, drain Envoy, set MAX_CONNECTION_AGE of gRPC, or restart the clients"
#: Remedies are written with NAME for the filter's.
_SET = "shadowctl filter set NAME"
_LESS = f"take less: {_SET} --sample 10%"
_FILTERED = {
    "method": (
        "the filter takes GET, HEAD and OPTIONS unless told otherwise",
        f"{_SET} --methods any, if the shadow may be written to",
    ),
    "path": ("--match-path and --exclude-path leave them out", "compare them with the paths of the traffic"),
    "header": ("--match-header leaves them out", "compare it with the headers of the traffic"),
    "loop": (
        "they are replayed requests that came back: the shadow's traffic passes production's port",
        "give the shadow an address of its own",
    ),
    "encrypted": (
        "TLS cannot be read on the wire without its secrets",
        "capture behind the TLS terminator, or let "
        f"it be read: {_SET} --tls decrypt, or by the server's key log: --tls-keylog FILE",
    ),
    "tls_suite": ("TLS 1.1 or older, or a suite without AEAD (CBC)", "let the server prefer TLS 1.3, or GCM suites"),
    "tls_refused": (
        "the server did not take the client, most likely its certificate",
        "such requests were not served; nothing is missing",
    ),
    "upgraded": ("CONNECT makes a tunnel (a WebSocket over HTTP/2 too), and what is in one is not read", ""),
    "interactive": ("gRPC dialogues of more than 10,000 turns are not followed", ""),
    "cancelled": ("HTTP/2 clients, or the service, gave requests up before they were whole", ""),
    "goaway": ("the service refused HTTP/2 requests unread; their clients ask again", ""),
    "not_http": (
        "it is another protocol",
        f"{_SET} --protocol raw --allow-writes --to tcp://HOST:PORT, if the client speaks first",
    ),
    "unparsable": ("what came is no valid HTTP", "shadowctl pcap streams on a capture shows where"),
    "mptcp": ("Multipath TCP carries a stream over several connections", "switch it off for this service"),
    "writes": ("raw replay may write", f"{_SET} --allow-writes, if the shadow may be written to"),
}
_LOST = {
    "midstream": (
        "the connection was open before the filter came, and a request was under way",
        "one for each such connection is usual; more of them: the connections never pause, or speak HTTP/2",
    ),
    "tls_no_key": (
        "nobody told the secrets of TLS connections in time",
        "shadowctl filter show NAME: what is known of "
        "its TLS; is the key log written by what serves this port, and read by the daemon?",
    ),
    "tls_midstream": (
        "TLS connections whose handshake was not seen",
        "those older than the filter end by themselves; more of them: look at the kernel's counters",
    ),
    "tls_undecryptable": ("the secrets that were told do not open the connection", "is it another server's key log?"),
    "gap": ("bytes in the middle were not captured", "look at the kernel's counters: shadowctl ledger NAME --json"),
    "truncated": ("the connection ended in the middle of a request", ""),
    "too_large": ("bodies above 16 MB are not kept", ""),
    "ring_full": (
        "connections whose opening found no room in the kernel's ring",
        f"raise ring_bytes, give the daemon more CPU, or {_LESS}",
    ),
    "memory": ("the daemon's memory budget is used up", f"raise memory_max, or {_LESS}"),
    "flow_limit": ("more connections than the daemon follows", f"raise max_flows, or {_LESS}"),
    "fault": (
        "a fault of shadowd's while it read a connection, which is followed no more",
        "please report it: shadowctl status --json names the place",
    ),
    "worker": ("a worker process ended with them", "its last words: shadowctl status; please report it"),
    "urgent": ("a client sent TCP urgent data, and without that byte its requests cannot be read", ""),
}
FAILED = {
    "connect": ("the target refuses connections", "is it running, at this address and port?"),
    "resolve": ("the target's name has no address", "check the name and this host's resolver"),
    "timeout": (
        "no whole answer in --timeout",
        f"is it overloaded? {_SET} --timeout 30s gives it longer",
    ),
    "reset": ("the target ends connections without an answer", "look into its log"),
    "truncated": ("the target ends connections within an answer", "look into its log"),
    "tls": (
        "no TLS with the target",
        f"does the port speak TLS? {_SET} --ca FILE (or --server-name HOST, --insecure) says how it is verified",
    ),
    "refused": (
        "the target agrees to no WebSocket, so that nothing can be said to it",
        "is it the right path and port?",
    ),
    "malformed": (
        "what the target answers is not HTTP/1, and production's answer is",
        f"is it the right port? if it speaks TLS: {_SET} --to https://HOST:PORT",
    ),
}
_SHED = {
    "own_lag": (
        "this host is too busy: we read the traffic, or sent it, too late",
        f"give the daemon more CPU (CPUWeight=, nice), or {_LESS}",
    ),
    "shadow_lag": (
        "the target is slower than production",
        f"is it smaller? {_SET} --max-connections 4096 (or --max-lag 30s, --sample 10%); with --order "
        "connection it has one request at a time on a connection",
    ),
    "interactive": (
        "dialogues of gRPC cannot be held with a target that speaks HTTP/1",
        "a target that speaks HTTP/2 (h2c://, h2://)",
    ),
    "own_limit": (
        "this host has no descriptor, port or memory for one more connection",
        f"raise LimitNOFILE=, look at net.ipv4.ip_local_port_range, or fewer: {_SET} --max-connections 256",
    ),
    "itself": (
        "the target is production itself",
        f"give the shadow another address, or {_SET} --allow-self if that is meant",
    ),
    "stray": (
        "the target said more than its answer, and a request that writes was under way behind it",
        "see which answers are followed by bytes: HEAD, 204, a wrong Content-Length",
    ),
    "target_memory": (
        "too many bytes wait for the target",
        f"{_SET} --max-buffered 64MB, or --sample 10%",
    ),
    "memory": (
        "the daemon's memory budget is used up",
        f"raise memory_max, or {_LESS}",
    ),
    "pressure": (
        "this host is busy, and production comes first",
        f"{_SET} --sample 10%, or raise cpu_guard and cpu_max",
    ),
    "max_rps": ("--max-rps allows no more", ""),
    "max_connections": ("--max-connections allows no more", ""),
    "max_in_flight": ("--max-in-flight allows no more", ""),
    "circuit_open": ("connecting failed again and again: the target rests", "see what it failed with"),
    "worker": ("a worker process ended with them, when other targets had answered", "see lost_worker"),
    "removed": ("the filter or its target was changed", ""),
    "shutdown": ("the daemon was stopped", ""),
    "before_target": ("they came before the target was added", ""),
}


def diagnose(view: View, ledger: View, status: View, listening: Sequence[int], connections: int) -> Iterator[Finding]:
    """``view`` of filter.show, ``ledger`` (with ``kernel``), ``status``; ``listening``: the filter's ports on which
    somebody on this host listens; ``connections`` to them now."""
    for found in _found(view, ledger, status, listening, connections):
        found.remedy = found.remedy.replace("NAME", str(view["name"]))
        yield found


def _found(view: View, ledger: View, status: View, listening: Sequence[int], connections: int) -> Iterator[Finding]:
    spec = view["spec"]
    yield from _selected(view, spec, status, listening)
    for words in view.get("words", ()):
        if words.startswith("TLS "):
            yield Finding("tls", "note", words)
    if older := view["older"]["http2"]:
        yield Finding(
            "older_http2",
            "warning",
            f"{older} HTTP/2 connections cannot be read until they end",
            "they began before the filter, and what they say refers to what was said then",
            CONNECT_ANEW,
        )
    kernel = ledger["kernel"]
    for name, what in (("ring_full", "segments found the ring full"), ("load_failed", "segments could not be read")):
        if kernel.get(name):
            yield Finding(name, "warning", f"{kernel[name]} {what}", "their requests are lost(gap)",
                          f"raise ring_bytes, or {_LESS}")  # fmt: skip
    if kernel.get("dead"):
        yield Finding("not_read", "warning", f"{kernel['dead']} segments were not copied while nobody read the ring",
                      "the daemon was stopped or starved for 3 s", "give it more CPU (CPUWeight=, nice)")  # fmt: skip
    if kernel.get("pressure"):
        yield Finding("held", "warning", f"{kernel['pressure']} segments were not copied for the guard's sake",
                      "reading alone took more than cpu_max", f"{_SET} --sample 10%, or raise cpu_max")  # fmt: skip
    if not ledger["seen"]:
        yield _nothing_seen(view, spec, connections)
        return
    yield from _requests(ledger)
    if float(spec.get("sample", 1)) < 1:
        yield Finding("sampled", "note", f"{float(spec['sample']):.3g} of the connections are looked at (--sample)",
                      "the others are not counted")  # fmt: skip


def _selected(view: View, spec: View, status: View, listening: Sequence[int]) -> Iterator[Finding]:
    name = view["name"]
    if view["state"] != "active":
        what = "nothing is captured for it" if view["state"] == "paused" else "its connections are only followed"
        yield Finding("paused", "error", "the filter is paused", what, f"shadowctl filter resume {name}")
        return
    problem = view.get("selection", {}).get("problem")
    if problem:
        yield Finding("nothing_selected", "error", str(problem), "", "shadowctl ps lists what there is")
    hook = str(spec["hook"])
    hooks = [str(one) for one in status["hooks"]]
    if hook == "socket" and "socket" not in hooks:
        yield Finding("not_attached", "error", "the socket hook is not attached", "", "see shadowctl status")
    if hook != "socket" and not any(one.endswith(_interface(hook)) or "*" in hook for one in hooks):
        yield Finding("not_attached", "error", f"no interface {hook.removeprefix('tc:')} is attached", "",
                      "ip link shows the names; it is attached when one appears")  # fmt: skip
    if hook == "socket" and spec["direction"] == "inbound" and spec["ports"] and not listening and not problem:
        yield Finding("nobody_listens", "error", f"no process of this host listens on {', '.join(spec['ports'])}",
                      "the service runs elsewhere, or on another port",
                      f"shadowctl ps; for calls that this host makes: {_SET} --direction outbound")  # fmt: skip


def _interface(hook: str) -> str:
    return f":{hook.removeprefix('tc:')}"


def _nothing_seen(view: View, spec: View, connections: int) -> Finding:
    if view["flows"]:
        return Finding("no_request", "warning", f"{view['flows']} connections match, and no request was whole yet",
                       "connections that were open before the filter are taken up at their next pause",
                       "wait, or restart the clients; HTTP/2 from before the filter is never taken up")  # fmt: skip
    if connections:
        return Finding("silent", "warning", f"{connections} connections are open, and no packet has matched",
                       "they carry nothing now, or networks and paths of the filter leave them out",
                       "shadowctl filter show NAME: networks, paths, direction? send a request yourself")  # fmt: skip
    elsewhere = "" if spec["hook"] != "socket" else "; is the service in a virtual machine, or only forwarded to?"
    return Finding("no_packets", "warning", "no packet has matched this filter", f"nobody calls the service{elsewhere}",
                   f"send a request yourself; for what passes through: {_SET} --hook tc:INTERFACE")  # fmt: skip


def _requests(ledger: View) -> Iterator[Finding]:
    seen = ledger["seen"]
    for reasons, table, prefix in ((ledger["filtered"], _FILTERED, "filtered"), (ledger["lost"], _LOST, "lost")):
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            meaning, remedy = table[reason]
            level = "error" if count == seen else "note"
            yield Finding(f"{prefix}_{reason}", level, f"{count} of {seen} requests are {prefix}({reason})", meaning,
                          remedy)  # fmt: skip
    offered = seen - sum(ledger["filtered"].values()) - sum(ledger["lost"].values())
    for target in ledger["targets"]:
        for key, table in (("failed", FAILED), ("shed", _SHED)):
            for reason, count in sorted(target[key].items(), key=lambda item: -item[1]):
                meaning, remedy = table[reason]
                level = "error" if not target["mirrored"] and key == "failed" else "warning"
                what = f"{target['url']}: {count} of {offered} are {key}({reason})"
                yield Finding(f"{key}_{reason}", level if remedy else "note", what, meaning, remedy)
        if target.get("stray_bytes"):
            yield Finding("stray_bytes", "warning", f"{target['url']}: {target['stray_bytes']} answers were followed by"
                          " bytes that belong to none", "a body after a 204 or for HEAD, or more than Content-Length; "
                          "each costs a connection",
                          "clients read them as the next answer: look at the server")  # fmt: skip
        if target.get("spread"):
            yield Finding("spread", "note", f"{target['url']}: {target['spread']} safe requests went out of order",
                          "the target is slower than production, so they did not wait for each other",
                          f"{_SET} --order connection, if their order matters more than that all "
                          "are mirrored")  # fmt: skip
        if target["mirrored"]:
            yield Finding("mirrored", "ok", f"{target['url']}: {target['mirrored']} of {offered} requests are mirrored")
