"""Where targets are: their names looked up again and again, off the hot path, and none of them production itself.

The last good answer stays in use. An address that leads to production itself (``capture/itself.py``) is not used, be it
written, resolved, or made of another by NAT: what NAT does shows in the first connections, so their other ends are
looked for among this host's sockets.
"""

from __future__ import annotations

import trio

from shadowd.capture.itself import arrives_at
from shadowd.capture.sockets import load
from shadowd.config.filter import FilterSpec
from shadowd.errors import ItselfError, ShadowdError
from shadowd.replay.target import Address, Target
from shadowd.service.crew import Crew
from shadowd.service.roster import Roster, is_itself, itself
from shadowd.worker.entry import Entry

EVERY = 30.0  # seconds between look-ups of a name: short-lived records are followed, resolvers not flooded
LIMIT = 5.0
LOOK_IDLE = 2.0  # where all were looked at
LOOK_EVERY = 0.5  # seconds between two looks for connections that nobody has looked at yet


class Resolving:
    """See the module's head."""

    def __init__(self, roster: Roster, crew: Crew) -> None:
        self._roster = roster
        self._crew = crew
        self._now = trio.Event()
        self._looked: dict[Target, list[Address]] = {}  # the addresses when its connections were looked at
        self._caught: set[Target] = set()  # seen to be production itself in a connection

    def soon(self) -> None:
        """Targets are new."""
        self._now.set()

    async def run(self) -> None:
        """Names, until cancelled."""
        while True:
            self._now = trio.Event()
            async with trio.open_nursery() as nursery:
                for entry in list(self._roster.entries.values()):
                    for target in entry.filter.targets:
                        nursery.start_soon(self._resolve, entry, target)
            with trio.move_on_after(EVERY):
                await self._now.wait()

    async def _resolve(self, entry: Entry, target: Target) -> None:
        error = f"no answer in {LIMIT:.0f} s"
        with trio.move_on_after(LIMIT):
            try:
                found = await trio.socket.getaddrinfo(target.host, target.port, type=trio.socket.SOCK_STREAM)
            except OSError as failure:
                error = str(failure.strerror or failure)
            else:
                addresses: list[Address] = [(int(family), address) for family, _, _, _, address in found]  # type: ignore[misc]
                spec, selected = entry.spec, entry.selected
                # in a thread: it reads of other network namespaces, and the pump must not wait
                others = await trio.to_thread.run_sync(
                    lambda: [one for one in addresses if not is_itself(spec, selected, one[1][0], one[1][1])],
                    abandon_on_cancel=True,
                )
                if target in self._caught:
                    others = []
                self._refuse(target, len(others) < len(addresses))
                target.addresses = others
                target.resolve_error = ""
                self._crew.sync()
                return
        if not target.addresses:
            target.resolve_error = f"{target.host} does not resolve: {error}"

    def _refuse(self, target: Target, refused: bool) -> None:
        if target in self._caught:
            return
        target.itself = " — ".join(itself(target.url)) if refused else ""

    async def check(self, spec: FilterSpec) -> None:
        """Raise ItselfError if a name of the filter's resolves to production itself. What does not resolve is found out
        later."""
        if spec.allow_self:
            return
        await trio.to_thread.run_sync(load)
        for target in spec.targets:
            with trio.move_on_after(LIMIT):
                try:
                    found = await trio.socket.getaddrinfo(target.host, target.port, type=trio.socket.SOCK_STREAM)
                except OSError:
                    continue
                selected = self._roster.selected_by(spec)
                if any(is_itself(spec, selected, str(address[0]), target.port) for *_, address in found):
                    raise ItselfError(*itself(target.url))

    # --- what NAT makes of an address ---------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at the first connections to each target's addresses, until cancelled."""
        while True:
            pending = False
            for entry in list(self._roster.entries.values()):
                for target in entry.filter.targets:
                    if not entry.spec.allow_self and not target.itself and self._looked.get(target) != target.addresses:
                        pending = True
                        await self._look(entry, target)
            gone = self._looked.keys() - set(self._crew.targets)
            for target in gone:
                del self._looked[target]
            self._caught -= gone
            await trio.sleep(LOOK_EVERY if pending else LOOK_IDLE)

    async def _look(self, entry: Entry, target: Target) -> None:
        ends = self._crew.local_ends(target)
        if not ends or entry.spec.direction == "outbound" or not (entry.selected.ports or entry.selected.cgroups):
            return
        addresses = list(target.addresses)
        try:
            caught = await trio.to_thread.run_sync(arrives_at, ends, entry.selected)
        except (ShadowdError, OSError):
            caught = False  # the kernel does not list sockets
        self._looked[target] = list(addresses)
        if caught:
            target.addresses = []
            self._caught.add(target)
            target.itself = " — ".join(itself(target.url))
            self._crew.cut(target)
