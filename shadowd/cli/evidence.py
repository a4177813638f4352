"""``shadowctl evidence export``, and the reading of what it wrote: one verdict of several nodes."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.cli.filters import Name
from shadowd.cli.output import Socket, daemon_at, new_app, number
from shadowd.cli.progress import Progress, waiting
from shadowd.control.client import Client
from shadowd.errors import ShadowdError, UsageError

app = new_app("Write a run's evidence to a file, so that several nodes get one verdict (verdict --merge).")
#: Seconds for gathering and packing; of 500 busy endpoints it takes ten.
_EXPORT_SECONDS = 120.0
_OLDER = "use a shadowctl of the daemon's version"


@app.command("export")
def export(
    ctx: typer.Context,
    name: Name,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")],
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Its id or label (shadowctl run ls); else the one that goes on.")
    ] = "",
    socket: Socket = None,
) -> None:
    """Write the evidence of a filter's run to a file.

    It has counts, latencies and the names of endpoints and fields; what is shown of values is redacted. Merge those of
    all nodes that mirror the same release: shadowctl verdict --merge FILE FILE ...

    \b
    Examples:
      shadowctl evidence export shop -o $(hostname).evidence
      shadowctl evidence export shop --run v2.3.1 -o - > v2.evidence
      kubectl exec $POD -- shadowctl evidence export shop -o - > $POD.evidence
    """
    from shadowd.cli.files import check_writable, write_bytes

    if output != "-":
        check_writable(Path(output))
    data = _fetched(daemon_at(ctx, socket), name, run)
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_bytes(Path(output), data)
        print(f"wrote {output} ({len(data):,} bytes)", file=sys.stderr)


def _fetched(client: Client, name: str, run: str) -> bytes:
    client.timeout = max(client.timeout, _EXPORT_SECONDS)
    made = client.call("evidence.export", name=name, **({"run": run} if run else {}))
    size, data = int(number(made, "bytes")), b""
    progress = Progress(f"evidence of {name}", size)
    try:
        while len(data) < size:
            page = client.call("evidence.page", export=made["export"], at=len(data))
            try:
                piece = base64.b64decode(page["data"], validate=True)
            except (TypeError, KeyError, ValueError, binascii.Error):
                piece = b""
            if not piece:
                raise ShadowdError("the daemon's answer is no evidence", _OLDER)
            data += piece
            progress(len(data))
    finally:
        progress.close()
    if not data:
        raise ShadowdError("the daemon's answer is no evidence", _OLDER)
    return data


def merged_verdict(files: Sequence[str], label: str = "") -> dict[str, Any]:
    """Of what several nodes wrote. Raises UsageError for a file that is none, or that does not belong to the others."""
    from shadowd.evidence.conditions import MergeError  # not at the top: other commands start without them
    from shadowd.evidence.merging import EMPTY, merge
    from shadowd.evidence.plain import said
    from shadowd.judge.merged import assess_untrusted

    whole: Mapping[str, Any] = EMPTY
    progress = Progress(f"merging {len(files)} files", len(files))
    try:
        for done, name in enumerate(files, 1):
            value = _value_untrusted(name)
            try:
                whole = merge(whole, value)
            except MergeError as error:
                raise UsageError(f"{name} does not belong to the others: {error.problem}", error.remedy) from None
            progress(done)
    finally:
        progress.close()
    try:
        with waiting("judging"):
            found: dict[str, Any] = assess_untrusted(whole).verdict
    except MergeError:
        for name in files:  # whose fault it is
            try:
                assess_untrusted(_value_untrusted(name))
            except MergeError as error:
                raise UsageError(f"{name}: {error.problem}", error.remedy) from None
        raise
    judged = str(found["run"]["label"])
    if label and judged != label:
        what = f"the build {said(judged)}" if judged else "a run without a label"
        reason = f"the evidence is of {what}, not of {said(label)} — export that of the other run (--run)"
        return {"verdict": "inconclusive", "score": None, "reasons": [reason], "error": reason, "judged": judged}
    return found


def _value_untrusted(name: str) -> Mapping[str, Any]:
    from shadowd.evidence.carrying import MAX_FILE, from_bytes_untrusted
    from shadowd.evidence.conditions import MergeError

    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(
            f"{os.fsdecode(name)} cannot be read: {error.strerror}", "name files that shadowctl evidence export wrote"
        ) from None
    except ValueError:
        raise UsageError("there is a NUL in a file's name", "name files that shadowctl evidence export wrote") from None
    try:
        return from_bytes_untrusted(data)
    except MergeError as error:
        raise UsageError(f"{name}: {error.problem}", error.remedy) from None
