"""``shadowctl``: the operator's command. Each group of commands has its own module; this one puts them together."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from shadowd.cli import demo, diffs, doctor, evidence, filters, init, pcap, ps, status, tail, trying, verdicts, version
from shadowd.cli.filteroptions import FilterCommand
from shadowd.cli.output import new_app, run, show_version
from shadowd.cli.top import command as top
from shadowd.cli.watching import WatchedCommand

app = new_app("Mirror live TCP flows to shadow hosts: talk to the shadowd daemon on this host.")


def _version(wanted: bool) -> None:
    show_version("shadowctl", wanted)


@app.callback()
def options(
    socket: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            envvar="SHADOWD_SOCKET",
            help="The daemon's control socket (default /run/shadowd/shadowd.sock).",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mirror live TCP flows to shadow hosts: talk to the shadowd daemon on this host.

    \b
    Examples:
      sudo shadowctl try --port 8080 --to http://shop-next:8080
      shadowctl ps
      shadowctl filter add shop --port 8080 --to http://shop-next:8080
      shadowctl status
      shadowctl ledger --json
      shadowctl top
      shadowctl tail shop --where 'status >= 500 or worse'
      shadowctl verdict shop --wait 10m
      shadowctl demo
    """


app.add_typer(filters.app, name="filter")
app.command(cls=WatchedCommand)(status.status)
app.command()(ps.ps)
app.command()(doctor.doctor)
app.command(cls=WatchedCommand)(status.ledger)
app.command()(status.reload)
app.command()(tail.tail)
app.command()(top.top)
app.command()(verdicts.verdict)
app.command()(diffs.diffs)
app.command()(verdicts.report)
app.add_typer(diffs.noise_app, name="noise")
app.add_typer(diffs.expect_app, name="expect")
app.add_typer(verdicts.run_app, name="run")
app.add_typer(evidence.app, name="evidence")
app.command("try", cls=FilterCommand)(trying.try_)
app.command()(demo.demo)
app.add_typer(pcap.app, name="pcap")
app.command()(init.init)
app.command("version")(version.version)


def main() -> NoReturn:
    run(app, "shadowctl")


if __name__ == "__main__":
    main()
