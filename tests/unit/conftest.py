"""What tests of the replay start with: an engine whose clock the test holds, and a shadow on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.loopback import Mirror, Shadow


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as built:
        yield built


@pytest.fixture
def shadow(mirror: Mirror) -> Shadow:
    return mirror.shadow()
