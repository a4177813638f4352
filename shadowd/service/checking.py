"""What of a configuration this host does not have: groups, files, folders. For ``shadowd check-config``.

What would keep the daemon from starting is an error; what it would wait for, or make, a warning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shadowd.capture.attach import resolve_cgroup
from shadowd.capture.keylog import check_keylog
from shadowd.config.document import Config
from shadowd.config.filter import FilterSpec
from shadowd.control.server import group_id
from shadowd.errors import ShadowdError
from shadowd.runs.embedding import check_model
from shadowd.service.schemas import read_schema
from shadowd.worker.building import tls_contexts


class Lack(NamedTuple):
    """``fatal``: the daemon would not start."""

    key: str
    problem: str
    remedy: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.problem} — {self.remedy}"


def lacks(config: Config) -> Iterator[Lack]:
    """In the order of the file. Reads what is named, and changes nothing."""
    yield from _tried("socket_group", partial(group_id, config.socket_group))
    for key, path in (("socket", Path(config.socket)), ("state_dir", config.state_dir / "filters.json")):
        if found := _in_the_way(path):
            yield Lack(key, f"{found} is no directory", "name another place", True)
    token = config.http_token_file
    if token is not None and not Path(token).parent.is_dir():
        yield Lack(
            "http_token_file",
            f"{Path(token).parent} does not exist",
            "the daemon makes it, for all to look into",
            False,
        )
    for spec in config.filters:
        for lack in _of_filter(spec, config.workers):
            yield lack._replace(key=f"filter {spec.name}: {lack.key}")


def _of_filter(spec: FilterSpec, workers: int) -> Iterator[Lack]:
    for number, target in enumerate(spec.targets):
        yield from _tried(f"targets[{number}]", partial(tls_contexts, target))
    if spec.tls_keylog is not None:
        yield from _tried("tls_keylog", partial(check_keylog, spec.tls_keylog, workers))
        if not os.path.exists(spec.tls_keylog):
            folder = os.path.dirname(spec.tls_keylog)
            where = "" if os.path.isdir(folder) else f", nor does the folder {folder}"
            what = f"{spec.tls_keylog} does not exist yet{where}"
            yield Lack("tls_keylog", what, "the daemon waits for it", False)
    for key, named, check in (
        ("descriptors", spec.descriptors, read_schema),
        ("similarity", spec.similarity, check_model),
        ("cgroup", spec.cgroup, resolve_cgroup),
    ):
        if named is not None:
            yield from _tried(key, partial(check, named))


def _tried(key: str, what: Callable[[], object]) -> Iterator[Lack]:
    try:
        what()
    except ShadowdError as error:
        yield Lack(key, error.problem.removeprefix(f"{key}: "), error.remedy, True)


def _in_the_way(path: Path) -> Path | None:
    """What stands where a folder above ``path`` is, or would have to be made."""
    for folder in path.parents:
        if folder.exists():
            return None if folder.is_dir() else folder
    return None
