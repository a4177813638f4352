"""docs/configuration.md says what the models say: every setting once, with its default, its bounds and its option."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from pydantic_core import PydanticUndefined

from shadowd.cli.filteroptions import OPTIONS
from shadowd.cli.filters import WIRE_KEYS
from shadowd.config.compare import CompareFields
from shadowd.config.document import Config, parse_config
from shadowd.config.fields import Faults, Strict, validated
from shadowd.config.filter import FilterSpec
from shadowd.config.target import TargetSpec
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text()
#: What a model needs besides the setting that is asked about.
REST: dict[type[Strict], dict[str, Any]] = {
    Config: {},
    FilterSpec: {"name": "shop", "ports": [80], "to": "http://next"},
    TargetSpec: {"url": "https://next"},
}
#: Other words for a default that has no form of its own.
WORDS = {
    "unless root": None,
    "no door": "",
    "the first that is there": "",
    "beside the socket": None,
    "not set": None,
    "none": (),
    "any": (),
    "no limit": None,
    "the system's": None,
    "the URL's host": None,
}
#: Values that are outside of every bound: "give LOW to HIGH" is what the models say to them.
OUTSIDE = (-(10**30), 10**30, "x" * 5000)


def _tables() -> dict[type[Strict], dict[str, dict[str, str]]]:
    """The rows of the page by model and setting, each a column → cell."""
    found: dict[type[Strict], dict[str, dict[str, str]]] = {Config: {}, FilterSpec: {}, TargetSpec: {}}
    model, columns = Config, list[str]()
    for line in PAGE.splitlines():
        if line.startswith("## A filter"):
            model = FilterSpec
        elif line.startswith("A **target**"):
            model = TargetSpec
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "setting":
            columns = cells
        elif not cells[0].startswith("---"):
            setting = cells[0].strip("`")
            assert len(cells) == len(columns), f"{setting}: {len(cells)} cells"
            assert setting not in found[model], f"{setting} stands twice"
            found[model][setting] = dict(zip(columns, cells, strict=True))
    return found


TABLES = _tables()
ROWS = [(model, setting) for model, rows in TABLES.items() for setting in rows]


@pytest.mark.parametrize("model", list(REST), ids=lambda model: model.__name__)
def test_every_setting_has_its_row(model: type[Strict]) -> None:
    assert set(TABLES[model]) == set(model.model_fields), "docs/configuration.md and the model differ"


@pytest.mark.parametrize(("model", "setting"), ROWS)
def test_the_default_is_the_models(model: type[Strict], setting: str) -> None:
    cell, field = TABLES[model][setting]["default"], model.model_fields[setting]
    if setting == "node":
        assert cell == "this host's name"
        return
    if cell == "required":
        assert field.is_required() or setting == "targets"
        return
    default = field.default if field.default is not PydanticUndefined else ()
    if not cell.startswith("`"):
        assert WORDS[cell] == default
        return
    text = cell.strip("`")
    value = {"true": True, "false": False}.get(text, text)
    assert getattr(validated(model, {**REST[model], setting: value}), setting) == default


@pytest.mark.parametrize(("model", "setting"), ROWS)
def test_the_bounds_are_the_models(model: type[Strict], setting: str) -> None:
    said = set()
    for value in OUTSIDE:
        try:
            validated(model, {**REST[model], setting: value})
        except Faults as faults:
            said |= {fault.hint for fault in faults.faults if fault.key == setting}
    for hint in said:
        found = re.fullmatch(r"give (\S+(?: \w+)?) to (\S+(?: \w+)?)", hint)
        if found and "printable" not in hint:
            assert f"{found[1]} to {found[2]}" in TABLES[model][setting]["form"], hint


@pytest.mark.parametrize(("model", "setting"), ROWS)
def test_choices_in_the_form_are_taken(model: type[Strict], setting: str) -> None:
    """A cell that is nothing but choices, such as ``strip`` or ``forward``."""
    cell = TABLES[model][setting]["form"]
    if re.fullmatch(r"`[a-z]+`(, `[a-z]+`)* or `[a-z]+`", cell):
        for text in re.findall(r"`([a-z]+)`", cell):
            value = {"true": True, "false": False}.get(text, text)
            rest = {**REST[model], "allow_writes": True, "to": "tcp://next:1"} if text == "raw" else REST[model]
            assert getattr(validated(model, {**rest, setting: value}), setting) == value


def test_the_options_are_those_of_the_command_line() -> None:
    flags = {}
    for name, form in OPTIONS.items():
        (option,) = (item for item in form.__metadata__ if isinstance(item, typer.models.OptionInfo))
        given = (option.param_decls or [f"--{name.replace('_', '-')}"])[0]
        setting = {"to": "targets", "baseline": "targets", "set_json_file": "set_json"}.get(
            name, WIRE_KEYS.get(name, name)
        )
        flags.setdefault(setting, set()).add(given)
    for model in (FilterSpec, TargetSpec):
        for setting, row in TABLES[model].items():
            if setting not in ("name", "paused", "follow", "url", "role"):
                assert set(re.findall(r"`(--[a-z-]+)`", row["option"])) == flags.pop(setting), setting
    assert not flags, "options without a row"


def test_the_judges_settings_stand_together() -> None:
    part = PAGE[PAGE.index("how answers are judged") :]
    assert set(re.findall(r"(?m)^\| `([a-z_]+)`", part)) == set(CompareFields.model_fields)


def test_the_example_is_valid() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    shop, cache = parse_config(example, "the example").filters
    assert [(target.role, target.ca) for target in shop.targets] == [("candidate", "/etc/ssl/ours.pem"),
                                                                     ("baseline", None)]  # fmt: skip
    assert cache.targets[0].scheme == "tcp"
