#!/usr/bin/env python3
"""The manual pages, from the commands' own ``--help`` and the documentation: systemd/manpages.py DIRECTORY

Writes man1/shadowctl.1 with a page for each command (man shadowctl-filter-add), man8/shadowd.8 and man5/shadowd.toml.5.
Runs in an environment that has shadowd; ``docs/`` and ``CHANGELOG.md`` are those of the clone that it stands in.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from shadowd import __version__, errors
from shadowd.cli import shadowctl, shadowd

sys.path.insert(0, str(Path(__file__).parent))
import roff

ROOT = Path(__file__).resolve().parent.parent
LICENCE = "Apache License 2.0; the capture program under BSD-2-Clause or GPL-2.0."


def released() -> str:
    """The day of this version, of the changelog: a page is the same whenever it is built."""
    found = re.search(
        rf"(?m)^## \[?{re.escape(__version__)}\]? — (\d{{4}}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text()
    )
    if found is None:
        raise SystemExit(f"CHANGELOG.md has no heading '## [{__version__}] — YYYY-MM-DD'")
    return found[1]


def page(name: str, section: int, about: str, body: Iterator[str]) -> str:
    title = f'.TH {name.upper()} {section} {released()} "shadowd {__version__}" shadowd'
    summary = roff.prose(f"{roff.literal(name)} \\- {about.translate(roff.PROSE)}")
    parts = ['.\\" made by systemd/manpages.py', title, ".SH NAME", summary, *body]
    text = "\n".join([*parts, ".SH LICENSE", LICENCE]) + "\n"
    return re.sub(r"(?m)^(\.S[HS] .*\n)\.PP\n", r"\1", text)


def help_of(command: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """A command's text as paragraphs, and what stands there line by line, as (heading, lines)."""
    paragraphs: list[str] = []
    kept: list[tuple[str, str]] = []
    for part in re.split(r"\n\s*\n", (command.help or "").split("\f")[0].strip()):
        if part.lstrip().startswith("\b"):
            first, _, rest = part.lstrip().removeprefix("\b").lstrip("\n").partition("\n")
            if first.endswith(":"):
                kept.append((first[:-1], "\n".join(line.removeprefix("  ") for line in rest.split("\n"))))
            else:
                kept.append(("", f"{first}\n{rest}"))
        elif part:
            paragraphs.append(part)
    return paragraphs, kept


def short(command: Any) -> str:
    """The first sentence."""
    text = " ".join((command.short_help or help_of(command)[0][0]).split())
    return re.split(r"(?<=[a-z0-9)])\.(?: |$)", text, maxsplit=1)[0]


def visible(command: Any) -> dict[str, Any]:
    return {name: one for name, one in getattr(command, "commands", {}).items() if not one.hidden}


def parameters(command: Any, kind: str) -> list[Any]:
    return [one for one in command.params if one.param_type_name == kind and not getattr(one, "hidden", False)]


def value_of(option: Any) -> str:
    """What an option is given, as ``--help`` names it; "" for a flag."""
    if option.is_flag or option.count:
        return ""
    return str(option.metavar or option.name.upper())


def name_of(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()).strip("[].")


def usage(words: str, command: Any) -> str:
    given = [] if not parameters(command, "option") else [r"[\fIOPTION\fR]..."]
    for argument in parameters(command, "argument"):
        name = roff.italic(name_of(argument)) + ("..." if argument.nargs == -1 else "")
        given.append(name if argument.required else f"[{name}]")
    if visible(command):
        given.append(r"\fICOMMAND\fR ...")
    return " ".join([roff.bold(words), *given])


def options(command: Any) -> Iterator[str]:
    for argument in parameters(command, "argument"):
        if argument.help:
            yield f".TP\n{roff.italic(name_of(argument))}\n{roff.plain(argument.help)}"
    group = ""
    for option in parameters(command, "option"):
        panel = str(getattr(option, "rich_help_panel", None) or "")
        if panel != group:
            group = panel
            yield f'.SS "{panel or "Other"}"'
        names = ", ".join(map(roff.bold, [*option.opts, *option.secondary_opts]))
        value = value_of(option)
        yield f".TP\n{names}{' ' + roff.italic(value) if value else ''}\n{roff.plain(option.help or 'No description.')}"


def environment(command: Any, seen: dict[str, str]) -> dict[str, str]:
    for option in parameters(command, "option"):
        for name in [option.envvar] if isinstance(option.envvar, str) else option.envvar or []:
            seen.setdefault(name, option.help or "")
    for one in visible(command).values():
        environment(one, seen)
    return seen


def exit_status() -> Iterator[str]:
    """As the module of all errors says it."""
    told = re.search(r"Exit codes: (.*)\.\n", errors.__doc__ or "")
    assert told is not None, "shadowd/errors.py no longer says the exit codes"
    yield ".SH EXIT STATUS"
    for one in told[1].split(", "):
        code, _, meaning = one.partition(" ")
        yield f".TP\n{roff.bold(code)}\n{roff.prose(meaning)}"
    yield ".TP\n\\fB130\\fR\ninterrupted"


def files() -> Iterator[str]:
    """The table of places, of docs/operations.md."""
    rows = re.search(r"(?m)^\| what \| where.*\n(?:\|.*\n)+", (ROOT / "docs/operations.md").read_text())
    assert rows is not None, "docs/operations.md no longer says what is where"
    yield ".SH FILES"
    for row in rows[0].splitlines()[2:]:
        what, where = roff.cells(row)
        yield f".TP\n{roff.prose(roff.inline(what))}\n{roff.prose(roff.inline(where))}"


def see_also(*names: str) -> str:
    pages = ", ".join(f"{roff.bold(name)}({section})" for name, section in (one.rsplit(".", 1) for one in names))
    return f".SH SEE ALSO\n{roff.prose(pages)}\n.PP\nThe documentation is in /usr/share/doc/shadowd."


def described(command: Any) -> Iterator[str]:
    paragraphs, _ = help_of(command)
    for paragraph in paragraphs:
        yield ".PP\n" + roff.plain(paragraph)


def kept(command: Any, wanted: bool) -> Iterator[str]:
    """What stands line by line in the help: the examples, or all else."""
    for heading, text in help_of(command)[1]:
        if heading.startswith("Example") == wanted:
            if wanted:
                yield ".SH EXAMPLES"
            elif heading:
                yield f".PP\n{roff.plain(heading)}:"
            yield roff.verbatim(text)


def whole(words: str, command: Any, others: list[str]) -> Iterator[str]:
    """A page's body for one command or group of commands."""
    yield f".SH SYNOPSIS\n{usage(words, command)}\n.SH DESCRIPTION"
    yield from described(command)
    yield from kept(command, False)
    if visible(command):
        yield ".SH COMMANDS"
        for name, one in visible(command).items():
            yield f".TP\n{roff.bold(f'{words} {name}'.replace(' ', '-'))}(1)\n{roff.plain(short(one))}."
    if command.params:
        yield ".SH OPTIONS"
        yield from options(command)
    if words == "shadowctl":
        yield ".SH ENVIRONMENT"
        for name, about in environment(command, {}).items():
            yield f".TP\n{roff.bold(name)}\n{roff.plain(about)}"
        yield from exit_status()
        yield from files()
    yield from kept(command, True)
    yield see_also(*others)


def of_commands(words: str, command: Any) -> Iterator[tuple[str, str]]:
    """(file, text) of ``shadowctl`` and all below it."""
    name = words.replace(" ", "-")
    above = [f"{name.rpartition('-')[0]}.1"] if " " in words else ["shadowd.toml.5", "shadowd.8"]
    yield f"man1/{name}.1", page(name, 1, short(command), whole(words, command, above))
    for one, below in visible(command).items():
        yield from of_commands(f"{words} {one}", below)


def of_daemon(command: Any) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    lines = [usage(f"shadowd {name}", one) for name, one in visible(command).items()]
    yield "\n.br\n".join(lines)
    yield ".SH DESCRIPTION"
    yield from described(command)
    yield ".SH OPTIONS"
    yield from options(command)
    for name, one in visible(command).items():
        yield f'.SH "SHADOWD {name.upper()}"'
        yield from described(one)
        yield from kept(one, False)
        yield from options(one)
        yield from (text for text in kept(one, True) if not text.startswith(".SH"))
    yield from exit_status()
    yield from files()
    yield from kept(command, True)
    yield see_also("shadowctl.1", "shadowd.toml.5", "systemctl.1")


def of_configuration() -> Iterator[str]:
    title, _, text = (ROOT / "docs/configuration.md").read_text().partition("\n")
    assert title == "# Configuration", "docs/configuration.md begins otherwise"
    yield ".SH DESCRIPTION"
    yield from roff.blocks(text)
    yield from files()
    yield see_also("shadowd.8", "shadowctl-filter-add.1")


def pages() -> Iterator[tuple[str, str]]:
    yield from of_commands("shadowctl", typer.main.get_command(shadowctl.app))
    daemon = of_daemon(typer.main.get_command(shadowd.app))
    yield "man8/shadowd.8", page("shadowd", 8, "the daemon that mirrors live TCP flows to shadow hosts", daemon)
    yield "man5/shadowd.toml.5", page("shadowd.toml", 5, "configuration of the daemon shadowd", of_configuration())


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("give the folder to write to: systemd/manpages.py DIRECTORY")
    for name, text in pages():
        file = Path(sys.argv[1]) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main()
