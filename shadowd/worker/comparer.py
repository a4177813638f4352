"""The comparer process as the daemon sees it: started when a heavy trial comes, ended when none did for a while.

One trial at a time goes to it (``Examining.heavy`` holds the others, bounded). A process that dies, answers nonsense
or takes longer than ``REPLY_LIMIT`` costs its trial, which is compared by digest, and is started anew for the next;
where none can be started all are compared by digest for ``AGAIN`` seconds, and ``status`` says so.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from itertools import combinations
from typing import Any, NamedTuple

import msgpack
import trio

from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.inband_wire import FAILED, REFUSED, InBand
from shadowd.compare.signatures import Signature
from shadowd.evidence.examining import Examining, answers_of
from shadowd.evidence.pairing import Pairing
from shadowd.evidence.trial import Faults, Trial
from shadowd.worker.comparer_worker import HEADER

#: Seconds for one trial, those that the process waits for a core included (it runs when nobody else wants to).
REPLY_LIMIT = 20.0
REPLY_BYTES = 1 << 20  # 64 differences of a pair with 200 characters of each side are far below it
IDLE = 60.0  # seconds after which a process that nobody needs is ended: it has some 30 MB
AGAIN = 30.0
_TEXTS = 5  # of a difference


class ReplyError(Exception):
    """The process did not say what it was asked for."""


def asked(trial: Trial) -> bytes:
    """A heavy trial as the process is told it."""
    settings = trial.examiner.settings
    pairing = Pairing(trial, trial.examiner.epoch, settings.preserve_host)
    options: Options = copy.copy(settings.options)
    options.head_memo = {}
    answers = answers_of(trial)
    pairs = [(ours, theirs, options, pairing.context(ours, theirs)) for ours, theirs in combinations(answers, 2)]
    return pickle.dumps((pairs, answers))


class Reply(NamedTuple):
    """``differences`` of each pair, ``faults`` of each answer."""

    differences: tuple[Differences, ...]
    faults: tuple[Faults, ...]


def replied_untrusted(data: bytes, answers: int) -> Reply:
    """To a question of so many answers. Raises ``ReplyError``."""
    try:
        listed = msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ReplyError(f"no msgpack: {error}") from None
    if not (isinstance(listed, list) and len(listed) == 2 and all(isinstance(one, list) for one in listed)):
        raise ReplyError("no reply")
    differences, faults = listed
    if len(differences) != answers * (answers - 1) // 2 or len(faults) != answers:
        raise ReplyError("not as much as was asked for")
    return Reply(tuple(map(_differences, differences)), tuple(map(_faults, faults)))


def _differences(one: Any) -> Differences:
    if not (isinstance(one, list) and len(one) == 2 and isinstance(one[0], int) and isinstance(one[1], list)):
        raise ReplyError("no differences of a pair")
    found = []
    for texts in one[1]:
        if not isinstance(texts, list) or len(texts) != _TEXTS or not all(isinstance(text, str) for text in texts):
            raise ReplyError("no difference")
        found.append(Difference(*texts))
    return Differences.of(found, max(0, one[0])) if found or one[0] else NONE


def _faults(one: Any) -> Faults:
    if not (isinstance(one, list) and len(one) == 2):
        raise ReplyError("no faults of an answer")
    inside, signature = one
    found = None
    if inside is not None:
        if not (isinstance(inside, list) and inside and type(inside[0]) is int and inside[0] in (REFUSED, FAILED)):
            raise ReplyError("no error within an answer")
        found = InBand(inside[0], _signature(inside[1:]))
    return Faults(found, None if signature is None else _signature(signature))


def _signature(texts: Any) -> Signature:
    if not (isinstance(texts, list) and len(texts) == 3 and all(isinstance(text, str) for text in texts)):
        raise ReplyError("no signature")
    try:
        return Signature.told_untrusted(*texts)
    except ValueError as error:
        raise ReplyError(str(error)) from None


class Comparer:
    """The task. ``problems``: the daemon's, by what they are about."""

    def __init__(self, examining: Examining, problems: dict[str, str]) -> None:
        self._examining = examining
        self._problems = problems
        self._process: trio.Process | None = None
        self._called = trio.Event()
        self.started = 0  # processes so far

    def _call(self) -> None:
        self._called.set()

    async def run(self) -> None:
        """Until cancelled."""
        examining = self._examining
        examining.on_heavy = self._call
        try:
            while True:
                with trio.move_on_after(IDLE) as waiting:
                    await self._called.wait()
                if waiting.cancelled_caught:
                    await self._end()
                    await self._called.wait()
                self._called = trio.Event()
                while examining.heavy:
                    await self._next()
        finally:
            with trio.CancelScope(shield=True):
                await self._end()
            examining.abandon_heavy()

    async def _next(self) -> None:
        """The oldest heavy trial."""
        examining = self._examining
        trial = examining.heavy[0]  # it stays in the queue, and counts there, until it is compared
        reply: Reply | None = None
        try:
            if self._process is None:
                await self._start()
            with trio.fail_after(REPLY_LIMIT):
                reply = await self._ask(trial)
        except (ReplyError, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            await self._end()
        except OSError as error:
            self._problems["comparer"] = (
                f"the comparer process cannot be started ({error.strerror or error}): heavy answers are compared by "
                "digest — look at the host's limits of processes and memory"
            )
            examining.heavy.popleft()
            examining.compared(trial, None)
            examining.abandon_heavy()
            await trio.sleep(AGAIN)
            examining.on_heavy = self._call
            return
        except Exception as error:  # whatever it is, it is this exchange's
            await self._end()
            examining.fail(trial.examiner, error)
        self._problems.pop("comparer", None)
        examining.heavy.popleft()
        examining.compared(trial, *(reply or (None,)))

    async def _start(self) -> None:
        self._process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "shadowd.worker.comparer_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.started += 1

    async def _ask(self, trial: Trial) -> Reply:
        assert self._process is not None
        assert self._process.stdin is not None
        content = asked(trial)
        await self._process.stdin.send_all(HEADER.pack(len(content)) + content)
        header = await self._read(HEADER.size)
        length = HEADER.unpack(header)[0]
        if length > REPLY_BYTES:
            raise ReplyError("a reply beyond all measure")
        return replied_untrusted(await self._read(length), len(answers_of(trial)))

    async def _read(self, length: int) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        data = bytearray()
        while len(data) < length:
            piece = await self._process.stdout.receive_some(length - len(data))
            if not piece:
                raise ReplyError("it ended")
            data += piece
        return bytes(data)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()
