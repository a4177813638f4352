#!/usr/bin/env python3
"""What a package contains, as a CycloneDX 1.5 bill of materials on stdout: systemd/sbom.py [SITE-PACKAGES]

Of that folder, or of the environment whose interpreter runs it; standard library alone. The same environment gives the
same bytes: the serial number is made of what is in it, the time is SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
import uuid
from importlib import metadata
from typing import Any

ROOT_PACKAGE = "shadowd"
_REQUIRED = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"\bextra\s*==")


def normal(name: str) -> str:
    """As PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(package: metadata.Distribution) -> str:
    return f"pkg:pypi/{normal(package.metadata['Name'])}@{package.version}"


def told(package: metadata.Distribution, field: str) -> list[str]:
    return [str(one).strip() for one in package.metadata.get_all(field) or []]


def licence(package: metadata.Distribution) -> list[dict[str, Any]]:
    """An SPDX expression (PEP 639), or the words of older metadata."""
    expressions = told(package, "License-Expression")
    if expressions:
        return [{"expression": expressions[0]}]
    short = [text for text in told(package, "License") if text and "\n" not in text and len(text) < 100]
    classifiers = [one.rpartition(" :: ")[2] for one in told(package, "Classifier") if one.startswith("License ::")]
    named = ", ".join(short or classifiers)
    return [{"license": {"name": named}}] if named else []


def component(package: metadata.Distribution, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind, "bom-ref": purl(package), "name": package.metadata["Name"]}
    made["version"] = package.version
    if told(package, "Summary"):
        made["description"] = told(package, "Summary")[0]
    if licence(package):
        made["licenses"] = licence(package)
    made["purl"] = purl(package)
    return made


def document(packages: list[metadata.Distribution]) -> dict[str, Any]:
    """Of an environment's packages, of which one is ours."""
    known = {normal(one.metadata["Name"]): one for one in packages}
    own = known[ROOT_PACKAGE]
    depends = []
    for name in sorted(known):
        required = {normal(named[0]) for line in known[name].requires or [] if not _EXTRA.search(line)
                    if (named := _REQUIRED.match(line))}  # fmt: skip
        depends.append(
            {"ref": purl(known[name]), "dependsOn": sorted(purl(known[one]) for one in required & set(known))}
        )
    libraries = [component(known[name], "library") for name in sorted(known) if name != ROOT_PACKAGE]
    python = f"pkg:generic/python@{platform.python_version()}"
    content = json.dumps([depends, libraries, python])
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or 0), datetime.UTC)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "systemd/sbom.py", "version": own.version}]},
            "component": component(own, "application"),
            "properties": [{"name": "shadowd:python", "value": python}],
        },
        "components": libraries,
        "dependencies": depends,
    }


def main() -> None:
    found = metadata.distributions(path=sys.argv[1:2]) if len(sys.argv) > 1 else metadata.distributions()
    packages = [one for one in found if one.metadata["Name"]]
    if ROOT_PACKAGE not in {normal(one.metadata["Name"]) for one in packages}:
        raise SystemExit(f"{(sys.argv[1:] or [sys.executable])[0]} has no {ROOT_PACKAGE}")
    json.dump(document(packages), sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
