"""Who looks at live pages, and what they are shown: worked out once a second for all of them.

    a page, or a stream ──► Watching.look(what) ──► Watched: parts by id, each with the version that it last changed in
                                                      ▲ refreshed by one task while somebody looks

A page has the version that it was made of, and a stream tells what changed since: a reader costs a number. One that is
slow misses what came meanwhile and is told the newest; one that comes back says what it saw last.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import trio

from shadowd.errors import ShadowdError

EVERY = 1.0  # seconds
#: A refresh is not repeated sooner than so many times what it took: the pump has the same core.
RESPITE = 2.0
FORGOTTEN = 60.0  # seconds after the last look
MOST = 40  # pages that are kept: each has some 200 KB

#: A page's parts: their HTML by id, in the order of the page.
Parts = dict[str, str]
#: Makes them; what is looked at is "" for all filters, or a filter's name.
Make = Callable[[str], Awaitable[Parts]]


class Watched:
    """The parts of one page. ``version`` counts changes, and ``epoch`` tells this one's counting from another's."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.epoch = secrets.token_hex(4)
        self.version = 0
        self.parts: Parts = {}
        self.problem: ShadowdError | None = None  # why the parts are older than they should be
        self.looked = self.made = -FORGOTTEN
        self.readers = 0
        self.stale = False
        self.making = trio.Lock()
        self._changed: dict[str, int] = {}
        self._event = trio.Event()

    def take(self, parts: Parts) -> None:
        """What the page is now."""
        fresh = {name for name, html in parts.items() if self.parts.get(name) != html}
        if fresh or len(parts) != len(self.parts):
            self.version += 1
            self._changed = {name: self.version if name in fresh else self._changed[name] for name in parts}
            self.parts = parts
            self._event.set()
            self._event = trio.Event()

    def since(self, version: int) -> Parts:
        """What changed after it."""
        return {name: html for name, html in self.parts.items() if self._changed[name] > version}

    def seen(self, told: str) -> int:
        """The version that a reader says it has (``EPOCH.VERSION``); 0 where it is none of ours."""
        epoch, _, version = told.partition(".")
        known = version.isascii() and version.isdigit() and len(version) < 16 and epoch == self.epoch
        return min(int(version), self.version) if known else 0

    @property
    def name(self) -> str:
        """Of the present version."""
        return f"{self.epoch}.{self.version}"

    async def changed(self, version: int) -> None:
        """Wait until there is something newer."""
        while self.version == version:
            await self._event.wait()


class Watching:
    """See the module's head. ``run`` is a task as long as the door is open."""

    def __init__(self, make: Make, wrong: Callable[[ShadowdError], Parts]) -> None:
        self._make = make
        self._wrong = wrong  # what is put in where a page could not be made anew
        self._watched: dict[str, Watched] = {}
        self._wake = trio.Event()

    async def look(self, what: str) -> Watched:
        """A page as it is now, at most ``EVERY`` old. Raises what making it raises."""
        watched = self._watched.get(what)
        if watched is None:
            watched = self._watched[what] = Watched(what)
            while len(self._watched) > MOST:
                idle = [one for one in self._watched.values() if not one.readers and one is not watched]
                if not idle:
                    break
                del self._watched[min(idle, key=lambda one: one.looked).what]
        watched.looked = trio.current_time()
        async with watched.making:
            if watched.stale or trio.current_time() - watched.made >= EVERY:
                await self._refresh(watched)
        if watched.problem is not None:
            raise watched.problem
        return watched

    @property
    def readers(self) -> int:
        """Of all pages."""
        return sum(watched.readers for watched in self._watched.values())

    def expire(self, what: str) -> None:
        """Something was done to it: who looks sees it at once."""
        for watched in self._watched.values():
            if watched.what in ("", what):
                watched.stale = True
        self._wake.set()
        self._wake = trio.Event()

    async def run(self) -> None:
        """Keep the pages fresh that somebody reads."""
        async with trio.open_nursery() as nursery:
            kept: set[str] = set()
            while True:
                now = trio.current_time()
                for watched in list(self._watched.values()):
                    if watched.readers and watched.what not in kept:
                        kept.add(watched.what)
                        nursery.start_soon(self._keep, watched, kept)
                    elif not watched.readers and now - watched.looked > FORGOTTEN:
                        del self._watched[watched.what]
                await trio.sleep(EVERY)

    async def _keep(self, watched: Watched, kept: set[str]) -> None:
        try:
            while watched.readers and self._watched.get(watched.what) is watched:
                began = trio.current_time()
                async with watched.making:
                    if watched.stale or began - watched.made >= EVERY / 2:
                        await self._refresh(watched)
                took = trio.current_time() - began
                with trio.move_on_after(max(EVERY, RESPITE * took)):
                    while not watched.stale:
                        await self._wake.wait()
        finally:
            kept.discard(watched.what)

    async def _refresh(self, watched: Watched) -> None:
        watched.stale = False
        try:
            watched.take(await self._make(watched.what))
            watched.problem = None
        except ShadowdError as error:
            watched.problem = error
            if watched.parts:
                watched.take(watched.parts | self._wrong(error))
        watched.made = trio.current_time()
