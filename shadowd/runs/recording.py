"""What of a run goes to the store and to its readers: batches, and the data of the report.

Everything from traffic is redacted here, before it is stored or shown: heads and bodies of examples, the short values
of differences, titles of errors, and the names that traffic gave to endpoints and places.

What is known of a secret is known of its exchange: a difference between two words, and a reply of Redis, are shown
without what names them, so that examples are looked at first, and what was masked in them is masked in what is told of
their group.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from shadowd import __version__
from shadowd.compare.content import content_untrusted
from shadowd.errors import ShadowdError
from shadowd.evidence.evidence import EXAMPLE_BODY, Example
from shadowd.evidence.gathering import Shown
from shadowd.evidence.latency import LatencySketch
from shadowd.judge.assessment import Assessment, signatures
from shadowd.redact.redaction import Redactor
from shadowd.store.batch import Batch
from shadowd.store.ownfiles import check_regular, open_regular

if TYPE_CHECKING:
    from shadowd.evidence.examiner import Examiner
    from shadowd.runs.run import Run
    from shadowd.runs.slices import Slice

KEY_BYTES = 32
#: Points of the latency over time and rows of tables in a report: a page, not a data dump.
REPORT_ROWS = 200
#: Bytes of an example body after decompression: as many as of one that was not compressed. Looking through it for
#: secrets takes some 30 ms of a turn at worst, for each side.
_CONTENT = EXAMPLE_BODY
#: Groups of which it is remembered what was masked in their examples, and how much of each: some 30 MB at most, and
#: then the oldest are forgotten.
HEARD, HEARD_EACH = 2000, 400
#: Redacted examples beyond those that wait.
MADE = 100
#: Redacted bodies of error signatures, 8 KB each at most.
BODIES = 500
_SECRET = hash("a value of the group was a secret")
#: Values that are shown without an example: small numbers, truth, and how long a list is.
_HARMLESS = re.compile(r"|-?[0-9]{1,3}(?:\.[0-9]{1,3})?|true|false|null|[0-9]+ items")
_TRANSPORT = frozenset({"timeout", "connect", "reset", "truncated", "tls"})


def load_key(state_dir: Path) -> bytes:
    """The redaction's key, made once: equal secrets stay comparable over restarts, and nobody else can test guesses.
    Raises ShadowdError where it can be neither read nor made."""
    path = state_dir / "redaction.key"
    try:
        if not check_regular(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(KEY_BYTES))
        with os.fdopen(open_regular(path), "rb") as file:
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise ShadowdError(f"{path} cannot be used: {error.strerror}", "check the state directory's rights") from None
    if len(key) != KEY_BYTES:
        raise ShadowdError(f"{path} is damaged", "remove it: a new one is made, old examples keep their old marks")
    return key


class Recorder:
    """Makes batches and report data, redacted."""

    def __init__(self, redactor: Redactor, node: str) -> None:
        self._redactor = redactor
        self.redacted = redactor.text
        self._made: dict[int, tuple[Example, dict[str, Any]]] = {}  # of examples that wait, by their identity
        self._bodies: dict[str, tuple[bytes, str]] = {}  # of signatures: a body, and what is shown of it
        self._heard: dict[str, set[int]] = {}  # of groups and signatures: what was masked in their examples
        self.on_failure: Callable[[Exception], None] | None = None  # told what went wrong with an example
        self._node = node
        self._skew = time.time() - time.monotonic()

    def kept(self, text: str) -> str:
        """A text of the evidence: a place (``$.by_token.…``) by its names too."""
        return self.redacted(self._redactor.path(text) if text.startswith("$") else text)

    def epoch(self, nanoseconds: int) -> float:
        """A kernel time as seconds of the Unix epoch."""
        return self._skew + nanoseconds / 1e9

    def asked(self, method: bytes, target: bytes) -> tuple[str, str]:
        """A request's method and target, as its example has them."""
        return self.redacted(method.decode("latin-1")), self._redactor.url(target.decode("utf-8", "replace"))

    def place(self, path: str) -> str:
        """Where in an answer something is."""
        return self._redactor.path(path)

    async def batch(self, run: Run, assessment: Assessment) -> Batch:
        """What changed since the last one. Gives the other tasks their turn between examples."""
        now = time.time()
        run.fill(now)
        await self.listen(run)
        batch = Batch()
        stored = {
            group.name: group
            for endpoint in run.examiner.endpoints.values()
            for field in endpoint.fields.values()
            for group in field.groups.values()
        }
        exchanges = {self.redacted(endpoint.name): endpoint.pairs for endpoint in run.examiner.endpoints.values()}
        for found in self.differences(assessment):
            group = stored.get(found["id"])
            if group is None or group.stored == found["count"]:
                continue
            group.stored = found["count"]
            batch.groups.append(
                {
                    "run": run.id, "id": found["id"], "endpoint": found["endpoint"], "place": found["where"],
                    "path": found["path"], "kind": found["kind"], "label": found["label"], "count": found["count"],
                    "exchanges": exchanges.get(found["endpoint"], 0), "first": found["first"], "last": found["last"],
                    "details": {key: found[key] for key in ("production", "candidate", "sentence", "noise_share")},
                }
            )  # fmt: skip
        for one in self.signatures(run):
            batch.signatures.append(
                {
                    "run": run.id, "fingerprint": one["fingerprint"], "kind": one["kind"], "title": one["title"],
                    "new": one["new"], "count": one["count"], "production_count": one["production_count"],
                    "endpoints": one["endpoints"], "first": one["first"], "last": one["last"],
                    "example": {"text": one["example"]},
                }
            )  # fmt: skip
        while run.examiner.examples:
            example = run.examiner.examples.popleft()
            batch.examples.append(
                {"run": run.id, "group": example.group, "time": self.epoch(example.time),
                 "example": self.example(example)}
            )  # fmt: skip
            self._made.pop(id(example), None)
            await trio.lowlevel.checkpoint()
        examiner = run.examiner
        counts = {"compared": examiner.compared, "worse": examiner.worse, "better": examiner.better,
                  "differing": examiner.differing, "seen": run.eligible}  # fmt: skip
        latest = run.slices[-1]
        batch.rollups.append(
            {"run": run.id, "minute": int(now // 60), "counts": counts,
             "sketches": _pack(latest.production, latest.candidate)}
        )  # fmt: skip
        verdict = assessment.verdict
        batch.verdicts.append(
            {"run": run.id, "time": now, "verdict": verdict["verdict"], "score": verdict["score"],
             "details": {"reasons": verdict["reasons"], "compared": verdict["compared"]}}
        )  # fmt: skip
        return batch

    # --- redacted views -----------------------------------------------------------------------------------------------

    async def listen(self, run: Run) -> None:
        """Look at the examples that wait. Gives the other tasks their turn."""
        waiting = {id(example) for example in run.examiner.examples}
        if len(self._made) > len(waiting) + MADE:  # others' that were never stored
            self._made.clear()
        for example in list(run.examiner.examples):
            if id(example) not in self._made:
                for _ in self._make(example):
                    await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()

    def told(self, assessment: Assessment) -> None:
        """Redact what an assessment says in words, in place: names that traffic gave, wherever they stand."""
        names = {one["endpoint"] for one in assessment.endpoints} | {one["endpoint"] for one in assessment.differences}
        changed = {name: new for name in names if (new := self.redacted(name)) != name}
        paths = {one["path"] for one in assessment.differences}
        changed |= {path: new for path in paths if (new := self._redactor.path(path)) != path}
        assessment.verdict = self._every(assessment.verdict, changed)
        assessment.endpoints = self._every(assessment.endpoints, changed)
        for one in assessment.differences:
            one["sentence"] = self._every(one["sentence"], changed)

    def _every(self, value: Any, changed: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            for name, new in changed.items():
                if name in value:
                    value = value.replace(name, new)
            return self._redactor.path(value)
        if isinstance(value, dict):
            told = {key: self._every(item, changed) for key, item in value.items() if key != "title"}
            if "title" in value:
                told["title"] = self._title(str(value.get("fingerprint")), str(value["title"]))
            return told
        if isinstance(value, list | tuple):
            return [self._every(item, changed) for item in value]
        return value

    def _title(self, fingerprint: str, title: str) -> str:
        """The title of an error: words of a body. Without an example that was looked at, none of them is known to be
        harmless."""
        heard = self._heard.get(fingerprint)
        if heard is None:
            kind = title.partition(":")[0]
            return title if kind in _TRANSPORT or title.endswith("(no body)") else f"error #{fingerprint[:8]}"
        return self._redactor.text(title, heard)

    @property
    def node(self) -> str:
        return self._node

    def shown(self) -> Shown:
        """How evidence is redacted that leaves the daemon."""
        return Shown(self.redacted, self._redactor.path, self.value, self._title, self._words_of)

    def trust(self, examiner: Examiner) -> None:
        """What was taken up from the store was redacted before it was stored."""
        for endpoint in examiner.endpoints.values():
            for field in endpoint.fields.values():
                for group in field.groups.values():
                    self._heard.setdefault(group.name, set())
        for fingerprint in examiner.signatures:
            self._heard.setdefault(fingerprint, set())

    def clean(self, run: Run) -> Iterator[None]:
        """Redact the values and bodies that a run's evidence keeps for people, before it is stored; an endpoint a
        step."""
        for endpoint in run.examiner.endpoints.values():
            for field in endpoint.fields.values():
                for group in field.groups.values():
                    group.production = self.value(group.name, field.path, group.production)
                    group.candidate = self.value(group.name, field.path, group.candidate)
            yield
        for fingerprint, known in run.examiner.signatures.items():
            known.signature.title = self._title(fingerprint, known.signature.title)
            looked = fingerprint in self._heard
            known.example = self._redactor.body(known.example, "") if known.example and looked else b""
        run.examiner.forget_segments(self._redactor.secret_segment)
        run.examiner.settings.options.head_memo.clear()  # of whole heads: quickly made again, and no evidence

    def differences(self, assessment: Assessment) -> list[dict[str, Any]]:
        """The groups of differences with epoch times, redacted."""
        return [self._difference(found) for found in assessment.differences]

    def _difference(self, found: dict[str, Any]) -> dict[str, Any]:
        return {
            **found,
            "endpoint": self.redacted(found["endpoint"]),
            "path": self._redactor.path(found["path"]),
            "production": self.value(found["id"], found["path"], found["production"]),
            "candidate": self.value(found["id"], found["path"], found["candidate"]),
            "first": self.epoch(found["first"]),
            "last": self.epoch(found["last"]),
        }

    def value(self, group: str, path: str, value: str) -> str:
        """A value of a difference. It stands without what was around it: one that was a secret in an example of its
        group is one from then on, and before an example was looked at, none is shown that says anything."""
        heard = self._heard.get(group)
        if heard is None:
            return self._redactor.value(path, value) if _HARMLESS.fullmatch(value) else self._redactor.mask(value)
        if _SECRET in heard:
            return self._redactor.mask(value)
        shown = self._redactor.value(path, value)
        redacted = self._redactor.text(shown, heard)
        if redacted != shown:
            heard.add(_SECRET)
        return redacted

    def signatures(self, run: Run) -> list[dict[str, Any]]:
        """Error signatures with epoch times, titles and examples redacted."""
        return [self._signature(one) for one in signatures(run.examiner)]

    def _signature(self, one: dict[str, Any]) -> dict[str, Any]:
        return {
            **one,
            "title": self._title(one["fingerprint"], one["title"]),
            "example": self._words_of(one["fingerprint"], one["example"]),
            "endpoints": [self.redacted(name) for name in one["endpoints"]],
            "first": self.epoch(one["first"]),
            "last": self.epoch(one["last"]),
        }

    def _words_of(self, fingerprint: str, example: bytes) -> str:
        """The example stays what it is while its error is counted, and a page that is looked at asks every second."""
        if fingerprint not in self._heard:
            return ""
        known = self._bodies.get(fingerprint)
        if known is None or known[0] != example:
            if len(self._bodies) >= BODIES:
                self._bodies.clear()
            known = example, self._redactor.body(example, "").decode("utf-8", "replace")
            self._bodies[fingerprint] = known
        return known[1]

    def example(self, example: Example) -> dict[str, Any]:
        """One exchange as text; bodies are decoded and cut."""
        made = self._made.get(id(example))
        if made is not None and made[0] is example:
            return made[1]
        for _ in self._make(example):
            pass
        return self._made[id(example)][1]

    def _make(self, example: Example) -> Iterator[None]:
        """Look at an example, a part of it between two yields: hostile bodies take tens of milliseconds each."""
        heard: set[int] = set()
        shown: dict[str, Any] = {}
        parts = self._parts(example, shown)
        while True:
            self._redactor.heard = heard  # others are redacted between two parts
            try:
                next(parts)
            except StopIteration:
                break
            except Exception as error:  # it is this exchange's fault alone: the run is recorded without it
                if self.on_failure is None:
                    raise
                self.on_failure(error)
                self._made[id(example)] = example, _unshown()
                return
            finally:
                self._redactor.heard = None
            yield
        known = self._heard.setdefault(example.group, set())
        if len(known) < HEARD_EACH:
            known |= heard
        for value in example.values:
            if self._redactor.text(value, heard) != self._redactor.text(value):
                known.add(_SECRET)
        while len(self._heard) > HEARD:
            del self._heard[next(iter(self._heard))]
        self._made[id(example)] = example, shown

    def _parts(self, example: Example, shown: dict[str, Any]) -> Iterator[None]:
        method, _, head, body = example.request
        shown["endpoint"] = self.redacted(example.endpoint)
        if not head:
            shown.update(self._turns(example, body))
            return
        first = self._redactor.head(head)
        line = first.split(b"\r\n", 1)[0].split(b" ")
        shown["request"] = request = {
            "method": self.redacted(method.decode("latin-1")),
            "target": line[1].decode("utf-8", "replace") if len(line) > 1 else "",
            "head": first.decode("utf-8", "replace"),
        }
        yield
        request["body"] = self._body(head, body)
        yield
        shown["production"] = self._side(example.production, example.production_failure)
        yield
        shown["candidate"] = self._side(example.candidate, example.failure)

    def _turns(self, example: Example, asked: bytes) -> dict[str, Any]:
        """What was said without HTTP: whether an answer is secret is in the question."""
        shown, secret = self._redactor.turn(asked)
        request = {"method": "", "target": "", "head": "", "body": shown.decode("utf-8", "replace")}
        sides: dict[str, Any] = {}
        for side, answer, failure in (
            ("production", example.production, example.production_failure),
            ("candidate", example.candidate, example.failure),
        ):
            if answer is None:
                sides[side] = {"failure": failure or "no answer"}
                continue
            said = self._redactor.turn(answer[2], secret)[0].decode("utf-8", "replace")
            sides[side] = {"status": answer[0], "head": "", "body": said}
        return {"request": request, **sides}

    def _side(self, answer: tuple[int, bytes, bytes] | None, failure: str) -> dict[str, Any]:
        """``status``, ``head`` and ``body`` of an answer, or ``failure``: why there is none."""
        if answer is None:
            return {"failure": failure or "no answer"}
        status, head, body = answer
        shown = self._redactor.head(head).decode("utf-8", "replace") if head else ""
        return {"status": status, "head": shown, "body": self._body(head, body)}

    def _body(self, head: bytes, body: bytes) -> str:
        content = content_untrusted(head, body, _CONTENT)
        return self._redactor.body(content.data, content.media_type).decode("utf-8", "replace")

    # --- the report ---------------------------------------------------------------------------------------------------

    def points(self, run: Run, most: int) -> list[dict[str, Any]]:
        """The latency over time, the latest of it."""
        run.fill(time.time())
        known = [one for one in run.slices if one.exchanges][-most:]
        return [{"time": one.time, **_sides(one, one is run.slices[-1])} for one in known]

    async def report(self, run: Run, assessment: Assessment) -> dict[str, Any]:
        """The data of ``shadowctl report`` (``observe/report.py`` says what it looks like). Gives the other tasks
        their turn: a live page asks for it every second."""
        run.fill(time.time())
        differences, errors = [], []
        for found in assessment.differences[:REPORT_ROWS]:
            differences.append(self._difference(found))
            await trio.lowlevel.checkpoint()
        for one in signatures(run.examiner)[:REPORT_ROWS]:
            errors.append(self._signature(one))
            await trio.lowlevel.checkpoint()
        return {
            "generated": time.time(),
            "version": __version__,
            "node": self._node,
            "filter": run.entry.spec.name,
            "target": run.target.url,
            "run": assessment.verdict["run"],
            "verdict": assessment.verdict,
            "ledger": run.entry.filter.account.view(),
            "latency": {
                "first_byte": _distributions(run.examiner.first_byte.reference, run.examiner.first_byte.candidate),
                "last_byte": _distributions(run.examiner.last_byte.reference, run.examiner.last_byte.candidate),
                "over_time": [
                    _point(one, one is run.slices[-1], assessment)
                    for one in [one for one in run.slices if one.exchanges][-REPORT_ROWS:]
                ],
            },
            "endpoints": sorted(assessment.endpoints, key=lambda one: (-one["worse"], -one["exchanges"]))[:REPORT_ROWS],
            "differences": differences,
            "signatures": errors,
            "memory": run.vitals.view(),
        }


def _unshown() -> dict[str, Any]:
    side = {"failure": "it cannot be shown, by a fault of shadowd: see shadowctl status"}
    request = {"method": "", "target": "", "head": "", "body": ""}
    return {"endpoint": "", "request": request, "production": side, "candidate": side}


def _distributions(production: LatencySketch, candidate: LatencySketch) -> dict[str, Any]:
    return {"production": _distribution(production), "candidate": _distribution(candidate)}


def _distribution(sketch: LatencySketch) -> dict[str, Any]:
    return {"buckets": [list(bucket) for bucket in sketch.buckets()], "count": sketch.count, **_quantiles(sketch)}


def _quantiles(sketch: LatencySketch) -> dict[str, float | None]:
    return {
        f"{name}_ms": None if value is None else round(value / 1e6, 3)
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        for value in (sketch.quantile(q),)
    }


def _point(one: Slice, growing: bool, assessment: Assessment) -> dict[str, Any]:
    return {
        "time": one.time,
        "seconds": round(one.seconds, 1),
        "exchanges": one.exchanges,
        "worse": one.worse,
        "differing": one.differing,
        "differing_beyond_noise": min(one.exchanges, round(assessment.beyond_noise(one.places))),
        **_sides(one, growing),
    }


def _sides(one: Slice, growing: bool) -> dict[str, Any]:
    """The quantiles of either side: worked out once where the slice is over, for there are many."""
    if one.told is not None:
        return one.told
    sides = {"production": _quantiles(one.production), "candidate": _quantiles(one.candidate)}
    if not growing:
        one.told = sides
    return sides


def _pack(production: LatencySketch, candidate: LatencySketch) -> bytes:
    """Two sketches as compressed JSON: buckets of (lowest, one above the highest, count) in ns, which can be merged."""
    both = {"production": production.buckets(), "candidate": candidate.buckets()}
    return zlib.compress(json.dumps(both, separators=(",", ":")).encode())
