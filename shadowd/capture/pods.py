"""Pods of this node, and which of them are wanted: by namespace, by name, by labels.

Namespace, name and UID of a pod are in the name of its folder of logs, ``NAMESPACE_NAME_UID`` (kubelet,
``BuildPodLogsDirectory``), which takes no right to read. Labels are known to the container runtime alone on a node
(``service/cri.py``). Folders and the runtime name pods that have ended, too: those have no cgroup.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from shadowd.errors import ShadowdError

MAX_PODS = 10_000  # looked at; a node runs some hundred, and folders of those that ended stay for a while

_FOLDER = re.compile(r"([a-z0-9-]{1,63})_([a-z0-9.-]{1,253})_([0-9a-fA-F-]{16,64})")  # no underscore in any of them
_PATTERN = re.compile(r"[a-z0-9.*?-]{1,253}")
#: RFC 1123 and the Kubernetes API: a prefix of a domain, a name of 63; a value may be empty.
_LABEL = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_OWN = ("namespace", "name")
_EXAMPLE = "such as namespace=shop,app=checkout or namespace=shop,name=checkout-*"


class Pod:
    """``labels`` are empty where nobody told them."""

    __slots__ = ("labels", "name", "namespace", "uid")

    def __init__(self, namespace: str, name: str, uid: str, labels: Mapping[str, str]) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid.lower()
        self.labels = labels


class PodSelector:
    """``namespace`` and ``name`` are globs; all of ``labels`` must be there. ``str`` is what ``parse`` reads."""

    __slots__ = ("labels", "name", "namespace")

    def __init__(self, namespace: str, name: str, labels: Mapping[str, str]) -> None:
        self.namespace = namespace
        self.name = name
        self.labels = dict(sorted(labels.items()))

    @classmethod
    def parse(cls, text: str) -> PodSelector:
        """``namespace=shop,app=checkout``: ``namespace`` is needed, ``name`` may be given, the rest are labels; one
        that is called like these two is ``label:name``. Raises ValueError (what is wrong: what to do)."""
        given: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.strip().partition("=")
            if not equals or key in given:
                raise ValueError(f"{part.strip()!r} is {'given twice' if equals else 'no key=value'}: {_EXAMPLE}")
            given[key] = value
        own = {key: given.pop(key) for key in _OWN if key in given}
        if not own.get("namespace"):
            raise ValueError(f"it names no namespace: {_EXAMPLE}; namespace=* is every one")
        for key, value in own.items():
            if not _PATTERN.fullmatch(value):
                raise ValueError(f"{value!r} is no {key} of Kubernetes: give one, or a pattern with * and ?")
        labels = {key.removeprefix("label:"): value for key, value in given.items()}
        for key, value in labels.items():
            if not _LABEL.fullmatch(key) or not _VALUE.fullmatch(value):
                raise ValueError(f"{key}={value} is no label: give it as kubectl get pods --show-labels prints it")
        return cls(own["namespace"], own.get("name", ""), labels)

    def __str__(self) -> str:
        words = [f"namespace={self.namespace}", *([f"name={self.name}"] if self.name else [])]
        return ",".join(words + [f"{'label:' * (key in _OWN)}{key}={value}" for key, value in self.labels.items()])

    def matches(self, pod: Pod) -> bool:
        return (
            fnmatch.fnmatchcase(pod.namespace, self.namespace)
            and fnmatch.fnmatchcase(pod.name, self.name or "*")
            and all(pod.labels.get(key) == value for key, value in self.labels.items())
        )


class PodList:
    """What is known of the node's pods: ``running`` as the runtime told it last (None: never), and its ``problem``."""

    __slots__ = ("_folder", "problem", "running")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.running: Sequence[Pod] | None = None
        self.problem = ""

    def matching(self, selector: PodSelector) -> list[Pod]:
        """Raises ShadowdError where it cannot be told."""
        return [pod for pod in self._known(selector) if selector.matches(pod)][:MAX_PODS]

    def asks_runtime(self, selector: PodSelector) -> bool:
        """Whether the folders do not do."""
        return bool(selector.labels) or not self._folder.is_dir()

    def _known(self, selector: PodSelector) -> Iterable[Pod]:
        if not self.asks_runtime(selector):
            return logged(self._folder)
        if self.running is None:
            raise ShadowdError(self.problem or "the container runtime is being asked for its pods")
        return self.running


def logged(folder: Path) -> list[Pod]:
    """Pods by their folders of logs, MAX_PODS at most. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            named = _FOLDER.fullmatch(entry.name)
            if named is not None:
                found.append(Pod(named[1], named[2], named[3], {}))
            if len(found) == MAX_PODS:
                break
    return found
