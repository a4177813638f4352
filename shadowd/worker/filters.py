"""A filter at run time: what its flows' exchanges become (sans-IO but for the targets' sockets below it)."""

from __future__ import annotations

from shadowd.evidence.examiner import Examiner
from shadowd.ledger.ledger import FilterAccount
from shadowd.policy.policy import Policy
from shadowd.replay.engine import Engine
from shadowd.replay.lane import Lane, Pool
from shadowd.replay.streams import StreamLane
from shadowd.replay.target import Target
from shadowd.replay.websocket import WebSocketLane

#: Of one filter with ``--order none``, where clients may ask for any name; beyond it targets are asked by their own.
MAX_POOLS = 256


class Filter:
    """``protocol`` is http, raw or auto; ``order`` is auto, connection or none."""

    __slots__ = (
        "account",
        "allow_writes",
        "examiners",
        "flows",
        "following",
        "forward_proxy_header",
        "keylog",
        "name",
        "older",
        "older_http2",
        "order",
        "policy",
        "pools",
        "probed",
        "protocol",
        "targets",
    )

    def __init__(
        self,
        name: str,
        policy: Policy,
        protocol: str = "auto",
        allow_writes: bool = False,
        order: str = "auto",
        forward_proxy_header: bool = False,
    ) -> None:
        self.name = name
        self.account = FilterAccount(name)
        self.policy = policy
        self.protocol = protocol
        self.allow_writes = allow_writes
        self.order = order
        self.forward_proxy_header = forward_proxy_header
        self.keylog = ""  # path of the file that tells secrets
        self.probed = False  # probes on the service's TLS library tell them
        self.targets: list[Target] = []
        self.examiners: dict[Target, Examiner] = {}  # of the candidates, if answers are compared
        self.pools: dict[tuple[Target, str], Pool] = {}  # and the name that production's clients asked for
        self.flows = 0  # matched since the filter was added
        self.following = False  # paused, and its connections are read all the same
        self.older = 0  # TLS connections that are open, and began before anybody could tell their secrets
        self.older_http2 = 0  # and of HTTP/2, that began before anybody read their headers

    @property
    def decrypts(self) -> bool:
        """TLS is read where somebody tells the secrets of its handshake."""
        return bool(self.keylog) or self.probed

    def note_older(self, http2: bool, change: int) -> None:
        """One more connection (or less) is open that began before it could be read."""
        if http2:
            self.older_http2 += change
        else:
            self.older += change

    def mode(self, kind: str) -> tuple[str, str]:
        """For a flow whose first client bytes are of ``kind``: (codec, "") or ("", reason to filter the flow)."""
        if self.protocol == "raw":
            return "raw", ""
        if kind in ("http", "http2"):
            return kind, ""
        if kind == "tls":
            return "", "encrypted"
        if self.protocol == "auto" and self.allow_writes and any(target.scheme == "tcp" for target in self.targets):
            return "raw", ""
        return "", "not_http"

    def lane(
        self, target: Target, engine: Engine, raw: bool, preamble: bytes, server_name: str = "", streams: bool = False
    ) -> Lane | Pool:
        """Where a flow's requests for ``target`` go. ``server_name``: whom its client asked for, by TLS; ``streams``:
        it is HTTP/2, where order is nobody's wish."""
        forwarded = preamble if self.forward_proxy_header else b""
        if streams:
            return StreamLane(engine, target, preamble=forwarded, server_name=server_name)
        if self.order != "none" or raw:
            return Lane(engine, target, raw, forwarded, auto=self.order == "auto", server_name=server_name)
        server_name = target.name_for(server_name) if target.tls is not None and len(self.pools) < MAX_POOLS else ""
        pool = self.pools.get((target, server_name))
        if pool is None:
            pool = self.pools[target, server_name] = Pool(engine, target, server_name)
        return pool

    def websocket(self, target: Target, engine: Engine, preamble: bytes, server_name: str) -> WebSocketLane:
        """Where a WebSocket's handshake and turns go."""
        return WebSocketLane(engine, target, preamble if self.forward_proxy_header else b"", server_name)
