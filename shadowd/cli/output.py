"""What every command shares: running an app, errors and exit codes, JSON.

Errors are one line each on stderr, ``error: what — what to do``; results go to stdout. A traceback is never shown.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from shadowd import __version__
from shadowd.cli.progress import waiting
from shadowd.cli.terminal import plain as plain
from shadowd.cli.terminal import print_table as print_table
from shadowd.control.client import DEFAULT_SOCKET, Client
from shadowd.errors import ShadowdError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


_printed_json = False  # a result is on stdout: an error after it is told on stderr alone
_wants_json = False  # of the command that runs: its errors are an object too


def _note_json(wanted: bool) -> bool:
    global _wants_json
    _wants_json = wanted or _wants_json
    return wanted


def expects_lines() -> None:
    """``--json`` of a command that follows something: an object on each line, and errors on stderr alone."""
    global _printed_json
    _printed_json = True


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", callback=_note_json)]
Socket = Annotated[
    str | None, typer.Option("--socket", metavar="PATH", help="The daemon's control socket, for this command.")
]


def new_app(about: str) -> typer.Typer:
    """Plain help: rich is slow to import, and its markup would eat brackets in examples."""
    return typer.Typer(help=about, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=_HELP)


_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def daemon_at(ctx: typer.Context, socket: str | None) -> Client:
    """Of this command's ``--socket``, else the one before the command or of SHADOWD_SOCKET, else the usual one."""
    return _Told(socket or ctx.find_root().params.get("socket") or DEFAULT_SOCKET)


class _Told(Client):
    """Tells whoever looks that the daemon takes its time."""

    def call(self, op: str, **args: Any) -> Any:
        with waiting("waiting for the daemon", self.timeout):
            return super().call(op, **args)


def show_version(program: str, wanted: bool) -> None:
    if wanted:
        print(f"{program} {__version__}")
        raise typer.Exit


def print_json(data: object) -> None:
    global _printed_json
    _printed_json = True
    print(json.dumps(data, indent=2, default=str))


def number(data: object, *path: str) -> int | float:
    """A number somewhere in an answer, 0 where it is missing."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, int | float) else 0


def mappings(data: object) -> list[Mapping[str, Any]]:
    """The tables of a list in an answer; anything else is left out."""
    return [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []


def strings(data: object) -> list[str]:
    return [str(item) for item in data] if isinstance(data, list) else []


def counts(data: object) -> str:
    """``3 gap, 1 midstream`` of a map of reasons."""
    listed = data.items() if isinstance(data, Mapping) else ()
    return ", ".join(f"{count} {reason}" for reason, count in listed if count)


def run(app: typer.Typer, program: str) -> NoReturn:
    """The whole of a program's ``main``: 0 ok, 1 failed, 2 usage, 130 interrupted."""
    try:
        code = _outcome(app, program)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader had enough, such as `| head`
        code = _silence()
    except OSError as error:
        _say(f"input or output failed: {error.strerror or error}")
        code = _silence()
    sys.exit(code)


def _silence() -> int:
    """Python flushes stdout once more at its end: let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


def _outcome(app: typer.Typer, program: str) -> int:
    try:
        code = app(prog_name=program, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except BaseExceptionGroup as group:
        return _grouped(list(_leaves(group)))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        return _failed(error)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _grouped(errors: list[BaseException]) -> int:
    if any(isinstance(error, KeyboardInterrupt) for error in errors):
        return INTERRUPTED
    return max(_failed(error) for error in errors)


def _failed(error: BaseException) -> int:
    """Say an error and give its exit code."""
    if isinstance(error, ShadowdError):
        _say(str(error))
        _tell_json(error.problem, error.remedy, error.exit_code)
        return error.exit_code
    message = getattr(error, "format_message", None)  # typer's own: it has no public base class for them
    if callable(message):
        context = getattr(error, "ctx", None)
        where = f"`{context.command_path} --help`" if context is not None else "--help"
        # a group made with no_args_is_help says its whole help: one line will do here as everywhere
        what = "Missing command" if type(error).__name__ == "NoArgsIsHelpError" else " ".join(str(message()).split())
        _say(f"{what.rstrip('.')} — see {where}")
        _tell_json(what.rstrip("."), f"see {where}", int(getattr(error, "exit_code", 2)))
        return int(getattr(error, "exit_code", 2))
    if isinstance(error, OSError):
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "input or output failed"
        _say(f"{place}: {error.strerror or error}")
        if error.filename is not None:  # else stdout itself may be what fails
            _tell_json(f"{place}: {error.strerror or error}", "", 1)
        return 1
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    what = " ".join(str(error).split())
    _say(f"internal error: {type(error).__name__}: {what}{at} — report it with the output of --version")
    _tell_json(f"internal error: {type(error).__name__}: {what}{at}", "report it with the output of --version", 1)
    return 1


def _tell_json(message: str, hint: str, code: int) -> None:
    """``--json`` prints one object whatever happens. Where the arguments themselves are wrong, typer may not have come
    as far as ``--json``: they are looked through."""
    if _printed_json or not (_wants_json or "--json" in sys.argv[1:]):
        return
    print_json({"verdict": None, "error": {"message": message, "hint": hint, "exit": code}})


def _say(text: str) -> None:
    try:
        for line in text.splitlines() or [""]:
            shown = line.encode("utf-8", "backslashreplace").decode()  # an argument may be no UTF-8
            print(f"error: {shown}", file=sys.stderr)
    except (OSError, UnicodeEncodeError):  # nobody reads stderr, or only ASCII: the exit code has to do
        pass
