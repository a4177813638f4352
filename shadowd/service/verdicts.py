"""What people and pipelines ask of the comparison: verdicts, differences, reports, noise and expectations.

The control socket and the HTTP door both come here; nothing here is asked more than a few times a second.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from shadowd.compare.difference import KINDS, WHERES
from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.rules import MAX_RULES
from shadowd.runs.exporting import Exporter
from shadowd.runs.recording import Recorder
from shadowd.runs.run import Run
from shadowd.runs.runs import Runs
from shadowd.service.roster import Roster
from shadowd.store.schema import StoreError

#: Differences in one answer of the control socket, most harmful first.
LISTED = 500
#: Runs listed of a filter, newest first.
RUNS_LISTED = 100
#: Errors of a report that are shown with an exchange, and characters of each of its heads and bodies: ten of them are a
#: tenth of what an answer may have.
ERRORS_SHOWN, ERROR_TEXT = 10, 2000
#: Exports that wait to be fetched, the newest: each has some 100 KB, and 16 MB at most.
EXPORTS = 2
PAGE = 512 << 10  # bytes; as base64 two thirds of what one answer may have
#: A run's newest example of a group or an error that was counted so often; empty if there is none.
Newest = Callable[[Run, str, int], Awaitable[dict[str, Any]]]
_RANKS = {"fail": 0, "inconclusive": 1, "pass": 2}
_PLACES = "give --path '$.requestId', --header NAME, --cookie NAME, --turn '*' or --status"
_LABEL_LIMIT = 200  # characters of a run's label


class Verdicts:
    """See the module's head. Unknown filters are UsageErrors that name the known ones."""

    def __init__(self, roster: Roster, runs: Runs, recorder: Recorder) -> None:
        self._roster = roster
        self._runs = runs
        self._recorder = recorder
        self._exporter = Exporter(runs, recorder)
        self._exports: dict[str, bytes] = {}

    def operations(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[object]]]:
        """By their names on the control socket."""
        return {
            "verdict": lambda given: self.verdict(_name(given), str(given.get("label") or "")),
            "report": lambda given: self.report(_name(given), given.get("target")),
            "diffs": lambda given: self.differences(_name(given)),
            "diff": lambda given: self.difference(_name(given), str(given.get("id", "")), given.get("target")),
            "noise.ls": lambda given: self.rules(_name(given), "noise"),
            "noise.add": lambda given: self.change_rule(_name(given), "noise", given.get("rule"), remove=False),
            "noise.rm": lambda given: self.change_rule(_name(given), "noise", given.get("rule"), remove=True),
            "expect.ls": lambda given: self.rules(_name(given), "expect"),
            "expect.add": lambda given: self.change_rule(_name(given), "expect", given.get("rule"), remove=False),
            "expect.rm": lambda given: self.change_rule(_name(given), "expect", given.get("rule"), remove=True),
            "run.start": lambda given: self.start_run(
                _name(given), str(given.get("label") or ""), bool(given.get("restart"))
            ),
            "run.ls": lambda given: self.list_runs(_name(given)),
            "evidence.export": lambda given: self.export(_name(given), str(given.get("run") or "")),
            "evidence.page": lambda given: self.page(str(given.get("export") or ""), given.get("at")),
        }

    def names(self) -> list[str]:
        """Of the filters there are."""
        return list(self._roster.entries)

    async def verdict(self, name: str, label: str = "") -> dict[str, Any]:
        """Of the filter's candidate; with several the worst one's, all beside it as ``candidates``. Where ``label``
        names another build than the one that is judged, there is none: ``inconclusive`` with ``error``, and ``judged``
        says which build it is."""
        for run in self._found(name) if label else []:
            if run.label != label:
                return _another_build(name, label, run)
        views = [(await self._runs.assess(run)).verdict for run in self._found(name)]
        worst = min(views, key=lambda view: (_RANKS[view["verdict"]], view["score"]))
        if len(views) == 1:
            return worst
        told = [{key: view[key] for key in ("target", "verdict", "score", "reasons")} for view in views]
        return {**worst, "candidates": told}

    async def report(self, name: str, target: object = None, newest: Newest | None = None) -> dict[str, Any]:
        """Of that candidate, else of the one whose verdict is the worst. ``newest``: of who remembers examples, for the
        errors."""
        wanted = target if target is not None else (await self.verdict(name))["target"]
        run = next((run for run in self._found(name) if run.target.url == wanted), None)
        if run is None:
            raise UsageError(f"{name} has no candidate {wanted}", f"shadowctl filter show {name} lists its targets")
        data = await self._recorder.report(run, await self._runs.assess(run))
        data["production"] = self._production(run)
        for one in data["signatures"][:ERRORS_SHOWN]:  # those that are new come first
            example = await (newest or self.newest)(run, one["fingerprint"], one["count"])
            if example:
                one["exchange"] = {side: _begun(example[side]) for side in ("request", "production", "candidate")}
        return data

    async def newest(self, run: Run, group: str, count: int) -> dict[str, Any]:
        """As ``Newest`` says, asked of memory and the store."""
        examples = await self.examples(run, group)
        return examples[0] if examples else {}

    def points(self, run: Run, most: int) -> list[dict[str, Any]]:
        """Its latency over time, the latest of it."""
        return self._recorder.points(run, most)

    async def differences(self, name: str) -> dict[str, Any]:
        """All groups of differences, those of the status first, then the most harmful; and the error signatures."""
        found: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for run in self._found(name):
            assessment = await self._runs.assess(run)
            found += [{**one, "target": run.target.url} for one in self._recorder.differences(assessment)]
            errors += [{**one, "target": run.target.url} for one in self._recorder.signatures(run)]
        found.sort(key=lambda one: one["where"] != "status")  # stable: the order by harm stays
        return {
            "filter": name,
            "differences": found[:LISTED],
            "more": max(0, len(found) - LISTED),
            "signatures": errors[:LISTED],
        }

    async def difference(self, name: str, group: str, target: object = None) -> dict[str, Any]:
        """One group, or one error signature by its fingerprint, with its examples, newest first; of that candidate, if
        one is named."""
        for run in self._found(name):
            if target is not None and run.target.url != target:
                continue
            assessment = await self._runs.assess(run)
            known = [one for one in self._recorder.differences(assessment) if one["id"] == group]
            known += [_as_difference(one) for one in self._recorder.signatures(run) if one["fingerprint"] == group]
            if known:
                return {"filter": name, "target": run.target.url, "production": self._production(run),
                        "difference": known[0], "examples": await self.examples(run, group)}  # fmt: skip
        raise UsageError(f"the filter {name} has no difference {group}", f"shadowctl diffs {name} lists them")

    async def examples(self, run: Run, group: str) -> list[dict[str, Any]]:
        """Of a group or an error signature, newest first, redacted."""
        waiting = [
            {"time": self._recorder.epoch(one.time), **self._recorder.example(one)}
            for one in reversed(run.examiner.examples)
            if one.group == group
        ]
        stored: list[dict[str, Any]] = []
        if run.id >= 0:
            try:
                rows = await self._runs.writer.ask(lambda database: database.examples(run.id, group))
                stored = [{"time": row["time"], **row["example"]} for row in rows]
            except StoreError:
                pass  # what waits in memory is shown; ``status`` tells of the store
        return waiting + stored

    @staticmethod
    def _production(run: Run) -> str:
        """Where production is asked from this host, for ``--curl``."""
        ports = run.entry.spec.ports
        return f"http://127.0.0.1:{ports[0][0]}" if ports else "http://127.0.0.1"

    # --- evidence that leaves the host --------------------------------------------------------------------------------

    async def export(self, name: str, run: str = "") -> dict[str, Any]:
        """The evidence of one run, as ``shadowctl verdict --merge`` reads it: ``bytes`` of it are there to be fetched
        with ``page`` under the name ``export``, until ``EXPORTS`` others were made."""
        self._roster.find(name)
        data = await self._exporter.export(name, run)
        made = secrets.token_hex(8)
        self._exports[made] = data
        while len(self._exports) > EXPORTS:
            del self._exports[next(iter(self._exports))]
        return {"filter": name, "export": made, "bytes": len(data)}

    async def page(self, export: str, at: object) -> dict[str, Any]:
        """``PAGE`` bytes of it from there on, as base64: only text travels. With the last one it is forgotten."""
        data = self._exports.get(export)
        if data is None or not isinstance(at, int) or not 0 <= at < len(data):
            raise ShadowdError("there is no such export any more", "write it anew: shadowctl evidence export")
        page = data[at : at + PAGE]
        if at + PAGE >= len(data):
            del self._exports[export]
        return {"data": base64.b64encode(page).decode()}

    # --- rules --------------------------------------------------------------------------------------------------------

    async def rules(self, name: str, kind: str) -> dict[str, Any]:
        """The operator's rules, and for noise the fields that were learned to be noisy."""
        self._roster.find(name)
        given = await self.given(name, kind)
        learned = []
        for run in self._runs.of(name) if kind == "noise" else []:
            for one in self._recorder.differences(await self._runs.assess(run)):
                if one["label"] == "not judged":
                    keys = ("endpoint", "where", "path", "kind", "noise_share", "sentence")
                    learned.append({key: one[key] for key in keys})
        return {"filter": name, "rules": given, "learned": learned}

    async def given(self, name: str, kind: str) -> list[dict[str, str]]:
        """The operator's rules alone."""
        return [row["rule"] for row in await self._runs.overrides(name) if row["kind"] == kind]

    async def change_rule(self, name: str, kind: str, rule: object, remove: bool) -> dict[str, Any]:
        """Add or remove one. Raises UsageError for a rule that says nothing."""
        self._roster.find(name)
        wanted = _rule(rule)
        before = [row for row in await self._runs.overrides(name) if row["kind"] == kind]
        if not remove and len(before) >= MAX_RULES:
            raise UsageError(f"the filter {name} has {MAX_RULES} rules", "remove some, or end a path with *")
        changed = await self._runs.override(name, kind, wanted, remove)
        if remove and not changed:
            raise UsageError(f"the filter {name} has no such rule", f"shadowctl {kind} ls {name} lists them")
        return {"filter": name, "rule": wanted, "changed": changed}

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def start_run(self, name: str, label: str, restart: bool = False) -> dict[str, Any]:
        """Begin a run; one that has the label already goes on, unless ``restart``. ``started`` says which it was."""
        if len(label) > _LABEL_LIMIT or not label.isprintable():
            raise UsageError("the label is not a line of text", f"give at most {_LABEL_LIMIT} printable characters")
        entry = self._roster.find(name)
        started = self._runs.start(name, entry, label, restart)
        targets = [run.target.url for run in self._runs.of(name)]
        return {"filter": name, "label": label, "started": bool(started), "targets": targets}

    async def list_runs(self, name: str) -> list[dict[str, Any]]:
        self._roster.find(name)
        found = await self._runs.writer.ask(lambda database: database.runs(name))
        return found[:RUNS_LISTED]

    def _found(self, name: str) -> list[Run]:
        self._roster.find(name)
        found = self._runs.of(name)
        if not found:
            raise ShadowdError(
                f"the filter {name} compares nothing",
                f"give it a candidate: shadowctl filter set {name} --to URL --compare",
            )
        return found


def _begun(part: dict[str, Any]) -> dict[str, Any]:
    """A side of an exchange with the beginning of its texts; ``cut`` where a body had more."""
    begun = {key: value[:ERROR_TEXT] if isinstance(value, str) else value for key, value in part.items()}
    return {**begun, "cut": True} if len(str(part.get("body") or "")) > ERROR_TEXT else begun


def _as_difference(signature: dict[str, Any]) -> dict[str, Any]:
    """An error signature in the words of a difference."""
    often = f"{signature['count']} times in the shadow, {signature['production_count']} in production"
    return {
        "id": signature["fingerprint"], "label": "new error" if signature["new"] else "known error",
        "endpoint": ", ".join(signature["endpoints"][:3]), "where": "error", "path": "", "kind": signature["kind"],
        "count": signature["count"], "sentence": f"{signature['title']}: {often}",
    }  # fmt: skip


def _another_build(name: str, label: str, run: Run) -> dict[str, Any]:
    judged = f"the build {run.label}" if run.label else "a run without a label"
    error = f"{name} judges {judged}, not {label[:_LABEL_LIMIT]}"
    remedy = f"begin a run of it: shadowctl run start {name} --label LABEL, or POST /run/{name}?label=LABEL"
    return {
        "verdict": "inconclusive", "score": None, "reasons": [f"{error} — {remedy}"], "error": f"{error} — {remedy}",
        "filter": name, "judged": run.label, "target": run.target.url,
        "run": {"id": run.id if run.id >= 0 else None, "label": run.label, "started": run.began},
    }  # fmt: skip


def _name(args: dict[str, Any]) -> str:
    name = args.get("name")
    if not isinstance(name, str):
        raise UsageError("a filter's name is missing", "name one: shadowctl filter ls lists them")
    return name


def _rule(rule: object) -> dict[str, str]:
    """A rule as ``evidence/rules.py`` reads it."""
    if not isinstance(rule, dict) or not all(isinstance(value, str) for value in rule.values()):
        raise UsageError("a rule is a place", _PLACES)
    wanted = {key: str(rule.get(key, "")) for key in ("where", "path", "endpoint", "change")}
    if wanted["where"] not in WHERES or (wanted["where"] not in ("status", "turn") and not wanted["path"]):
        raise UsageError("a rule is a place", _PLACES)
    if wanted["where"] in ("body", "turn"):
        _check_place(wanted["path"])
    if wanted["change"] and wanted["change"] not in KINDS:
        raise UsageError(f"there is no kind of change {wanted['change'][:40]!r}", f"one of {', '.join(KINDS)}")
    if any(len(value) > 1000 or not value.isprintable() for value in wanted.values()):
        raise UsageError("the rule is not a line of text", "give at most 1000 printable characters")
    return wanted


def _check_place(path: str) -> None:
    """A path that can never be met would be a rule that silently does nothing."""
    if path.startswith("line["):
        return
    if path and path != "line" and not path.startswith("$") and not path.endswith("*"):
        raise UsageError(
            f"{path[:60]!r} is no place in an answer",
            "give $.requestId or $.items[*].id in JSON, line for text, * for all of it",
        )
    if re.search(r"\[\d+\]", path) and '"' not in path:
        raise UsageError(f"{path[:60]!r} names one element", "elements are judged together: write [*]")
