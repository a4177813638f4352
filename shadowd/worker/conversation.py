"""One production connection: from its two ordered streams to exchanges, and from exchanges to the filters' targets.

The stream layer's sink. The first client bytes tell what the flow speaks; each filter that matched then joins a group
with the codec it wants (usually one group for all), is filtered with a reason, or counts the flow as lost. Filters may
join and leave while the flow lives: the kernel's bitmap travels with every record.
"""

from __future__ import annotations

from zlib import crc32

from shadowd.ledger.budget import Charge
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.detect import HTTP2_PREFACE, identify, speaks_http2
from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.proxy import ProxyError, ProxyHeader, looks_like_proxy, parse_untrusted
from shadowd.protocols.raw import RawCodec
from shadowd.replay.target import Target
from shadowd.stream.flow import FlowSink
from shadowd.tls.session import PlainSink
from shadowd.worker.filters import Filter
from shadowd.worker.group import Group, Participant, Surroundings

CLIENT = 0
#: First bytes held until the protocol is known: a PROXY v2 header may be 64 KB and 16, then one request line.
OPENING_LIMIT = 96 << 10


#: By mode; every other is raw.
_CODECS: dict[str, type[Http1Codec | Http2Codec | RawCodec]] = {"http": Http1Codec, "http2": Http2Codec}
#: Kinds of a connection of which nothing is read.
_UNREAD = frozenset({"mptcp", "fault", "unreadable"})


class Conversation(PlainSink):
    """See the module's head."""

    __slots__ = (
        "_ahead",
        "_ahead_time",
        "_charge",
        "_flow",
        "_given_up",
        "_groups",
        "_kind",
        "_members",
        "_midstream",
        "_older",
        "_only",
        "_opening",
        "_outer",
        "_preamble",
        "_sealed",
        "_start",
        "_urgent",
        "client",
        "filters",
        "key",
    )

    def __init__(self, outer: Surroundings, key: bytes, flow: FlowView, midstream: bool, filters: int) -> None:
        self._outer = outer
        self._flow = flow
        self._midstream = midstream
        self.key = key
        self.filters = filters
        self.client: tuple[str, int] | None = None  # as a PROXY header told
        self._members = outer.filters_of(filters)
        self._groups: dict[str, Group] = {}
        self._opening = bytearray()
        self._ahead = b""  # what an HTTP/2 server said before the client's first bytes
        self._ahead_time = 0
        self._charge = Charge(outer.engine.budget)
        self._preamble = b""
        self._kind = "http" if midstream else ""  # midstream: the codec waits for a provable start by itself
        self._given_up = False
        self._older: list[Filter] = []  # filters that decrypt, to which it is older than they
        self._sealed = False  # what comes was decrypted: for filters that decrypt alone
        self._urgent = -1  # direction in which urgent data was seen
        self._start = (0, 0)  # stream offsets, client→server and server→client, of the first bytes a codec is fed
        self._only: Group | None = None  # of an identified flow, the common case: the way there is without a detour
        for member in self._members:
            member.flows += 1
        if midstream:
            for member in self._members:
                self._join(member)

    # --- the stream layer's sink --------------------------------------------------------------------------------------

    def data(self, direction: int, data: bytes, time: int) -> None:
        only = self._only
        if only is not None:
            only.deliver(direction, data, time)
        else:
            self._deliver(direction, data, time)

    def _deliver(self, direction: int, data: bytes, time: int) -> None:
        """The long way of ``data``: before the flow is identified, and with any number of codecs."""
        try:
            if not self._kind:
                if direction == CLIENT:
                    self._identify(data, time)
                    return
                if self._flow.spoke_unseen:
                    self._miss_opening()
                elif self._greets(data):
                    self._ahead, self._ahead_time = self._ahead + data, time
                    self._charge.hold(len(self._ahead))
                    return
                else:
                    self._settle_kind("other")  # the server speaks first: no HTTP
                    if self._opening:
                        self._release_opening(time)
            if not self._groups:
                self._outer.discarded(self._kind if self._kind in _UNREAD else "filtered", len(data))
            for group in self._groups.values():
                if direction == CLIENT:
                    group.codec.client_data(data, time)
                else:
                    group.codec.server_data(data, time)
        except Exception as error:
            self.give_up(error)

    def _greets(self, data: bytes) -> bool:
        """An HTTP/2 server may speak before its client's preface is whole."""
        if not HTTP2_PREFACE.startswith(self._opening) or len(self._ahead) >= OPENING_LIMIT:
            return False
        return bool(self._ahead) or speaks_http2(data)

    def gap(self, direction: int, length: int, time: int) -> None:
        try:
            if not self._kind:
                self._miss_opening()
            for group in self._groups.values():
                if direction == CLIENT:
                    group.codec.client_gap(length, time)
                else:
                    group.codec.server_gap(length, time)
        except Exception as error:
            self.give_up(error)

    def eof(self, direction: int, time: int) -> None:
        try:
            if not self._kind and (self._opening or self._ahead):
                self._settle_kind("other")
                self._release_opening(time)
            for group in self._groups.values():
                if direction == CLIENT:
                    group.codec.client_eof(time)
                else:
                    group.codec.server_eof(time)
                group.finish(self._outer.now)
        except Exception as error:
            self.give_up(error)

    def urgent(self, direction: int, time: int) -> None:
        try:
            self._urgent = direction
            self._outer.discarded("urgent", 1)
            for group in self._groups.values():
                group.codec.urgent(direction)
        except Exception as error:
            self.give_up(error)

    def closed(self, state: str, time: int) -> None:
        for member in self._older:
            member.older -= 1
        self._older = []
        try:
            if not self._kind and (self._opening or self._ahead):
                self._settle_kind("other")
                self._release_opening(time)
            for group in self._groups.values():
                group.codec.closed(time)
                group.finish(self._outer.now)
            self._groups = {}
            self._only = None
        except Exception as error:
            self.give_up(error)

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def sealed(self, view: FlowView) -> None:
        self._flow, self._sealed = view, True
        self._groups, self._only = {}, None  # of a flow seen from the middle: nothing was fed
        for member in self._members:
            if not member.decrypts:
                member.account.filter_out("encrypted")

    def unreadable(self, reason: str) -> None:
        if self._kind in _UNREAD:
            return
        groups, self._groups, self._kind, self._only = self._groups, {}, "unreadable", None
        self._drop_opening(reason)
        for member in self._members:
            if not member.decrypts:
                continue
            if reason in ("tls_suite", "tls_refused"):
                member.account.filter_out(reason)
            elif reason == "tls_midstream":
                self._came_too_late(member)
            else:
                member.account.lose(reason)
        for group in groups.values():
            group.end(self._outer.now)

    def _drop_opening(self, reason: str) -> None:
        held = len(self._opening) + len(self._ahead)
        if held:
            self._outer.discarded(reason, held)
            self._opening, self._ahead = bytearray(), b""
            self._charge.hold(0)

    def _came_too_late(self, member: Filter) -> None:
        member.account.lose("tls_midstream")
        member.older += 1
        self._older.append(member)

    def dropped(self, reason: str, length: int) -> None:
        self._outer.discarded(reason, length)

    def _miss_opening(self) -> None:
        """The first bytes are gone: as if seen from the middle."""
        self._midstream = True
        if self._opening or self._ahead:
            self._start = (self._start[0] + len(self._opening), len(self._ahead))
            self._drop_opening("gap")
        self._settle_kind("http")

    # --- what the flow speaks -----------------------------------------------------------------------------------------

    def _identify(self, data: bytes, time: int) -> None:
        opening = self._opening
        if not opening:
            kind = identify(data)  # the common case: the first segment tells
            if kind is not None and kind != "other":
                self._settle_kind(kind)
                if not self._groups:
                    self._outer.discarded("filtered", len(data))
                for group in self._groups.values():
                    group.codec.client_data(data, time)
                return
        opening += data
        charge = self._charge
        charge.hold(len(opening))
        longest = 0 if charge.exhausted else OPENING_LIMIT
        start = 0
        if not self._preamble and looks_like_proxy(bytes(opening)) is not False:
            header = self._proxy_header(bytes(opening))
            if header is None:
                if len(opening) < longest and not self._given_up:
                    return
            else:
                start = header.length
                self._preamble = bytes(opening[:start])
                self.client = header.client
                del opening[:start]
                self._start = (start, 0)
                self._outer.discarded("proxy_header", start)
                if not opening:
                    return
        kind = identify(bytes(opening))
        if kind is None and len(opening) < longest:
            return
        self._settle_kind(kind or "other")
        self._release_opening(time)

    def _proxy_header(self, opening: bytes) -> ProxyHeader | None:
        try:
            return parse_untrusted(opening)
        except ProxyError:
            self._given_up = True
            return None

    def _release_opening(self, time: int) -> None:
        data = bytes(self._opening)
        self._opening = bytearray()
        self._charge.hold(0)
        if not data:
            return
        for group in self._groups.values():
            group.codec.client_data(data, time)
        if not self._groups:
            self._outer.discarded("filtered", len(data))

    def _settle_kind(self, kind: str) -> None:
        ahead, self._ahead = self._ahead, b""
        self._kind = "other" if ahead and kind != "http2" else kind
        for member in self._members:
            self._join(member)
        if ahead:
            for group in self._groups.values():
                group.codec.server_data(ahead, self._ahead_time)
            if not self._groups:
                self._outer.discarded("filtered", len(ahead))

    def multipath(self) -> None:
        """Both ends agreed on MPTCP: this is one subflow of several, so nothing in it can be trusted to be whole."""
        if self._kind not in _UNREAD:
            self._kind = "mptcp"
            self._drop_opening("mptcp")
            groups, self._groups, self._only = self._groups, {}, None
            for group in groups.values():
                group.end(self._outer.now)
            for member in self._members:
                member.account.filter_out("mptcp")

    def _join(self, member: Filter, late: bool = False) -> None:
        if member.decrypts:
            if self._kind == "tls":  # the handshake was over
                self._came_too_late(member)
                return
        elif self._sealed:  # counted already
            return
        mode, reason = member.mode(self._kind)
        if reason:
            member.account.filter_out(reason)
            return
        raw = mode == "raw"
        if raw and late:
            # half a conversation is none: not even a running codec's turns, but one that says that they are lost
            mode = f"raw, late: {member.name}"
            self._groups.pop(mode, None)
        group = self._groups.get(mode)
        if group is None:
            draw = crc32(self.key) & 0xFFFF  # of the flow's key: stays the same for all of the connection's life
            codec = _CODECS.get(mode, RawCodec)

            def make(sink: CodecSink) -> Codec:
                return codec(
                    sink, self._flow, midstream=self._midstream, body_limit=self._outer.engine.body_limit,
                    start=self._start, budget=self._outer.engine.budget,
                )  # fmt: skip

            group = Group(self._outer, make, raw, self._preamble, draw, self.give_up, self._flow)
            self._groups[mode] = group
            if self._urgent >= 0:
                group.codec.urgent(self._urgent)
            self._only = group if len(self._groups) == 1 and self._kind else None
        group.participants.append(Participant(member))

    def give_up(self, error: Exception) -> None:
        """A fault of ours: what was sent to shadows goes on, and nothing more of this connection is read."""
        self._outer.engine.examining.note_fault(error)
        if self._kind == "fault":
            return
        groups, self._groups, self._kind, self._only = self._groups, {}, "fault", None
        self._drop_opening("fault")
        for member in self._members:
            member.account.lose("fault")
        for group in groups.values():
            group.end(self._outer.now)

    # --- filters come and go ------------------------------------------------------------------------------------------

    def change_filters(self, bitmap: int) -> None:
        """The kernel decided this flow anew. A filter that joins starts with the next exchange."""
        self.filters = bitmap
        wanted = self._outer.filters_of(bitmap)
        for member in [m for m in self._members if m not in wanted]:
            self.leave(member, "removed")
        for member in wanted:
            if member not in self._members:
                self._members.append(member)
                member.flows += 1
                if self._sealed and not member.decrypts:
                    member.account.filter_out("encrypted")
                    continue
                if not self._kind or self._kind in _UNREAD:
                    continue
                mode, reason = member.mode(self._kind)
                if not reason and (mode not in self._groups or mode == "raw"):
                    self._midstream = True  # a codec of its own would begin in the middle
                    self._start = self._flow.offsets
                self._join(member, late=True)

    def leave(self, member: Filter, reason: str) -> None:
        """A filter was removed, paused, or no longer matches: what it has unanswered here is shed."""
        if member in self._members:
            self._members.remove(member)
        if member in self._older:
            self._older.remove(member)
            member.older -= 1
        for group in self._groups.values():
            group.leave(member, reason, self._outer.now)

    def leave_target(self, member: Filter, target: Target) -> None:
        for group in self._groups.values():
            group.leave_target(member, target, self._outer.now)

    @property
    def deserted(self) -> bool:
        """No filter wants this flow any more."""
        return not self._members


def conversation_of(sink: FlowSink) -> Conversation:
    """Of a flow's sink, which may be TLS around it."""
    found = sink if isinstance(sink, Conversation) else sink.inner  # type: ignore[attr-defined]
    assert isinstance(found, Conversation)
    return found
