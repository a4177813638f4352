"""Other kernels: `make test-kernels` runs the acceptance script under each of Debian's kernels, and tells in docs/.

Each kernel comes from its release's package, and is booted by qemu over this machine's own files (``guest.py``). It
loads the prebuilt bytecode, so that the verifier of each kernel judges what is shipped. Nothing here needs KVM:
software emulation takes some minutes a kernel (``SHADOWD_VM_ACCEL=kvm`` uses it where it works).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from tests.conftest import ROOT
from tests.vm.guest import SHARED_ROOT, boot, make_initramfs, over_this_machine
from tests.vm.packages import CACHE, RELEASES, Apt, Missing, need_tools, run

PAGE = ROOT / "docs" / "kernels.md"
LIMIT = 1800.0  # seconds for one guest: an emulated processor takes five minutes
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
_STEPS = ("start", "socket IPv4", "socket IPv6", "tc IPv4", "tc IPv6", "stop", "TLS probes", "TLS key log")


def try_kernel(release: str, show: bool) -> list[dict[str, Any]]:
    """The steps that the guest told; the last one says how it ended if it told no end."""
    apt = Apt(release)
    package = apt.kernel()
    kernel = apt.unpacked(package)
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    folder = CACHE / "guests" / release
    folder.mkdir(parents=True, exist_ok=True)
    script = ROOT / "tests/vm/acceptance.py"
    command = (
        f"cd {ROOT}; export SHADOWD_ACCEPTANCE_LIMIT=240 PYTHONDONTWRITEBYTECODE=1; "
        f'{sys.executable} {script} --loader prebuilt >/dev/ttyS1 2>&1; echo "exit $?" >/dev/ttyS1; '
        f"{sys.executable} -m tests.vm.tls_probes >/dev/ttyS1 2>&1; "
        f"{sys.executable} -m tests.vm.tls_keylog >/dev/ttyS1 2>&1; "
        "sync; busybox poweroff -f"
    )
    make_initramfs(kernel, folder / "initramfs", over_this_machine(command))
    steps: list[dict[str, Any]] = []
    rest: list[str] = []

    def line(text: str) -> None:
        try:
            step = json.loads(text)
        except ValueError:
            rest.append(text)
            return
        steps.append(step)
        if show:
            told = step["detail"] if isinstance(step["detail"], str) else json.dumps(step["detail"])
            print(
                f"  {'ok  ' if step['ok'] else 'FAIL'} {step['step']:12} {step['seconds']:7.1f} s  {told}", flush=True
            )

    code = boot(image, folder / "initramfs", folder / "console", line, LIMIT, SHARED_ROOT)
    if "exit 0" not in rest:
        console = (folder / "console").read_text("utf-8", "replace")[-1500:]
        steps.append({"step": "end", "ok": False, "seconds": 0.0, "detail": f"qemu {code}; {rest[-8:]}; {console}"})
    steps.insert(0, {"step": "package", "ok": True, "seconds": 0.0, "detail": package})
    return steps


def row(release: str, steps: list[dict[str, Any]]) -> str:
    """One line of the page's table."""
    by_name = {step["step"]: step for step in steps}
    facts = by_name.get("host", {}).get("detail") or {}
    cells = [release, facts.get("kernel", "?") if isinstance(facts, dict) else "?"]
    for name in _STEPS:
        step = by_name.get(name)
        refused = step is not None and str(step["detail"]).startswith("refused")
        cells.append("–" if step is None or refused else "yes" if step["ok"] else "**no**")
    return f"| {' | '.join(cells)} |"


def write_page(rows: list[str]) -> None:
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    date = time.strftime("%Y-%m-%d", time.gmtime())
    titles = ["Debian", "kernel", "loads", *_STEPS[1:]]
    table = "\n".join([f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *rows])
    PAGE.write_text(f"{head}{BEGIN}\nLast run: {date}.\n\n{table}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("releases", nargs="*", default=list(RELEASES), help=f"of {', '.join(RELEASES)} (default: all)")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/kernels.md")
    options = parser.parse_args()
    failed, rows = [], []
    try:
        need_tools()
        run("make", "-C", ROOT, "bpf-bytecode")
        for release in options.releases:
            print(f"{release}:", flush=True)
            steps = try_kernel(release, True)
            rows.append(row(release, steps))
            if not all(step["ok"] for step in steps):
                failed.append(release)
                print(f"  {release} FAILED: {steps[-1]['detail']}", flush=True)
    except Missing as error:
        print(f"test-kernels: {error}", file=sys.stderr)
        return 2
    if not options.no_page:
        write_page(rows)
    print(
        f"{len(rows) - len(failed)} of {len(rows)} kernels passed"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
