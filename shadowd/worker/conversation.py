"""One production connection: from its two ordered streams to exchanges, and from exchanges to the filters' targets.

The stream layer's sink. The first client bytes tell what the flow speaks; each filter that matched then joins a group
with the codec it wants (usually one group for all), is filtered with a reason, or counts the flow as lost. Filters may
join and leave while the flow lives: the kernel's bitmap travels with every record. One that joins begins with the next
exchange of a codec that runs, or, where none has its place, in the middle.

A filter that is paused and *follows* is a member without being in a group: what it would read is read, so that codecs
keep their places and the tables of HTTP/2, and nothing is told it. When it is resumed, it joins as one that is late.
"""

from __future__ import annotations

from zlib import crc32

from shadowd.ledger.budget import Charge
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.detect import HTTP2_PREFACE, identify, speaks_http2
from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.http2_midstream import Glance
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


#: Kinds of a connection of which nothing is read.
_UNREAD = frozenset({"mptcp", "fault", "unreadable"})


class Conversation(PlainSink):
    """See the module's head."""

    __slots__ = (
        "_ahead",
        "_ahead_time",
        "_charge",
        "_flow",
        "_following",
        "_given_up",
        "_glance",
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
        "_why",
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
        self._why = ""  # of a flow of TLS that cannot be read
        self._older: list[Filter] = []  # filters that cannot read it because it began before they could
        self._sealed = False  # what comes was decrypted: for filters that decrypt alone
        self._urgent = -1  # direction in which urgent data was seen
        self._start = (0, 0)  # stream offsets, client→server and server→client, of the first bytes a codec is fed
        self._only: Group | None = None  # of an identified flow, the common case: the way there is without a detour
        self._glance = Glance() if midstream else None  # until it is known whether it is HTTP/2, or never will be
        self._following = [member for member in self._members if member.following]
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
            if self._glance is not None:
                self._look(self._glance, direction, data)
            if not self._groups:
                reason = "midstream" if self._older else "filtered"
                self._outer.discarded(self._kind if self._kind in _UNREAD else reason, len(data))
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
            if self._glance is not None:
                self._glance.gap(direction)
            for group in self._groups.values():
                if direction == CLIENT:
                    group.codec.client_gap(length, time)
                else:
                    group.codec.server_gap(length, time)
        except Exception as error:
            self.give_up(error)

    def eof(self, direction: int, time: int) -> None:
        try:
            if not self._kind and self._opening:
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
        for member in list(self._older):
            self._no_longer(member)
        try:
            if not self._kind and self._opening:
                self._settle_kind("other")
                self._release_opening(time)
            self._drop_opening("http2_control")  # a client that connected ahead of need, and said nothing
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
        self._groups, self._only, self._glance = {}, None, None  # of a flow seen from the middle: nothing was fed
        for member in self._members:
            if not member.decrypts and member not in self._following:
                member.account.filter_out("encrypted")

    def unreadable(self, reason: str) -> None:
        if self._kind not in _UNREAD:
            self._stop("unreadable", reason)

    def _stop(self, kind: str, reason: str) -> None:
        """Nothing more of the connection is read."""
        for member in list(self._older):
            self._no_longer(member)
        groups, self._groups, self._only, self._glance = self._groups, {}, None, None
        self._kind, self._why = kind, reason
        self._drop_opening(reason)
        for member in self._members:
            self._tell_unread(member)
        for group in groups.values():
            group.end(self._outer.now)

    def _tell_unread(self, member: Filter, late: bool = False) -> None:
        kind, reason = self._kind, self._why
        if kind == "unreadable" and not member.decrypts:
            if late:  # the others were told before
                self._filter_out(member, "encrypted")
        elif reason == "tls_midstream":
            self._came_too_late(member, reason)
        elif reason in ("mptcp", "tls_suite", "tls_refused"):
            self._filter_out(member, reason)
        elif member not in self._following:
            member.account.lose(reason)

    def _filter_out(self, member: Filter, reason: str) -> None:
        if member not in self._following:
            member.account.filter_out(reason)

    def _drop_opening(self, reason: str) -> None:
        held = len(self._opening) + len(self._ahead)
        if held:
            self._outer.discarded(reason, held)
            self._opening, self._ahead = bytearray(), b""
            self._charge.hold(0)

    def dropped(self, reason: str, length: int) -> None:
        self._outer.discarded(reason, length)

    def _miss_opening(self) -> None:
        """The first bytes are gone: as if seen from the middle."""
        self._midstream = True
        self._glance = Glance()
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
            self._stop("mptcp", "mptcp")

    def _join(self, member: Filter, late: bool = False) -> None:
        """``late``: bytes of the flow were fed before."""
        follows = member in self._following
        if member.decrypts:
            if self._kind == "tls":  # the handshake was over
                self._came_too_late(member, "tls_midstream")
                return
        elif self._sealed:
            if late:  # the others were told before
                self._filter_out(member, "encrypted")
            return
        mode, reason = member.mode(self._kind)
        if reason:
            self._filter_out(member, reason)
            return
        raw = mode == "raw"
        if raw and follows:
            return
        group = self._groups.get(mode)
        if late and (raw or group is None or self._astray(group)):
            if mode == "http2":
                self._came_too_late(member, "midstream")
                return
            # half a conversation is none: not even a running codec's turns, but one that says that they are lost
            mode, group = f"{mode}, late: {member.name}", None
            before = self._groups.pop(mode, None)
            if before is not None:
                before.end(self._outer.now)
        if group is None:
            group = self._groups[mode] = self._group(mode.partition(",")[0], late)
            if self._urgent >= 0:
                group.codec.urgent(self._urgent)
            self._shorten()
        if not follows:
            group.participants.append(Participant(member))

    def _astray(self, group: Group) -> bool:
        """Its codec has lost its place, or has not found it yet. (That of HTTP/1 finds it again.)"""
        codec = group.codec
        return codec.astray if isinstance(codec, Http2Codec) else self._midstream

    def _group(self, mode: str, late: bool) -> Group:
        draw = crc32(self.key) & 0xFFFF  # of the flow's key: stays the same for all of the connection's life
        start = self._flow.offsets if late else self._start
        midstream = late or self._midstream
        engine = self._outer.engine

        def make(sink: CodecSink) -> Codec:
            if mode == "http2":
                return Http2Codec(sink, self._flow, body_limit=engine.body_limit, start=start, budget=engine.budget)
            return (Http1Codec if mode == "http" else RawCodec)(
                sink, self._flow, midstream=midstream, body_limit=engine.body_limit, start=start, budget=engine.budget
            )

        return Group(self._outer, make, mode == "raw", self._preamble, draw, self.give_up, self._flow)

    def _shorten(self) -> None:
        """Whether there is a way without a detour."""
        known = self._kind and self._glance is None
        self._only = next(iter(self._groups.values())) if known and len(self._groups) == 1 else None

    # --- connections that began before they could be read -------------------------------------------------------------

    def _look(self, glance: Glance, direction: int, data: bytes) -> None:
        """Of a flow seen from the middle: whether it is HTTP/2, and is lost as long as it lasts."""
        glance.feed_untrusted(direction, data)
        if not glance.over:
            return
        self._glance = None
        if glance.is_http2:
            self._kind = "http2"
            for member in self._members:
                if member.mode("http2")[0] == "http2" and (member.decrypts or not self._sealed):
                    self._begin_older(member)  # its codec has counted the loss with the first bytes
            for mode in [mode for mode, group in self._groups.items() if group.http is not None]:
                self._groups.pop(mode).end(self._outer.now)
        self._shorten()

    def _came_too_late(self, member: Filter, reason: str) -> None:
        if member not in self._following:
            member.account.lose(reason)
        self._begin_older(member)

    def _begin_older(self, member: Filter) -> None:
        if member not in self._older:
            self._older.append(member)
            member.note_older(self._kind == "http2", 1)

    def _no_longer(self, member: Filter) -> None:
        """The connection ends, or is not the filter's any more."""
        if member in self._older:
            self._older.remove(member)
            member.note_older(self._kind == "http2", -1)

    def give_up(self, error: Exception) -> None:
        """A fault of ours: what was sent to shadows goes on, and nothing more of this connection is read."""
        self._outer.engine.examining.note_fault(error)
        if self._kind != "fault":
            self._stop("fault", "fault")

    # --- filters come and go ------------------------------------------------------------------------------------------

    def change_filters(self, bitmap: int) -> None:
        """The kernel decided this flow anew. A filter that joins, or is resumed, starts with the next exchange."""
        self.filters = bitmap
        wanted = self._outer.filters_of(bitmap)
        for member in [m for m in self._members if m not in wanted]:
            self.leave(member, "removed")
        for member in wanted:
            if member not in self._members:
                self._members.append(member)
                member.flows += 1
                if member.following:
                    self._following.append(member)
            elif member in self._following and not member.following:
                self._following.remove(member)
            else:
                continue
            if self._kind in _UNREAD:
                self._tell_unread(member, late=True)
            elif self._kind or (self._sealed and not member.decrypts):
                self._join(member, late=True)

    def rest(self, member: Filter, reason: str) -> None:
        """A filter was paused, and follows: what it has unanswered here is shed."""
        if member in self._members and member not in self._following:
            self._following.append(member)
        for group in self._groups.values():
            group.leave(member, reason, self._outer.now)

    def leave(self, member: Filter, reason: str) -> None:
        """A filter was removed, paused, or no longer matches: what it has unanswered here is shed."""
        if member in self._members:
            self._members.remove(member)
        if member in self._following:
            self._following.remove(member)
        self._no_longer(member)
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
