"""Servers of canned answers that several modules ask."""

from tests.unit.cli.test_cli import served as served
from tests.unit.cli.test_cli import shop as shop
from tests.unit.cli.test_cli_hostile import canned as canned
from tests.unit.cli.test_cli_verdicts import judged as judged
