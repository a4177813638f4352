"""What the HTTP door shows, gathered from those who know it (``observe/http.py`` speaks HTTP)."""

from __future__ import annotations

from shadowd.metrics import Metrics
from shadowd.standing import Standing
from shadowd.verdicts import Verdicts


class Door:
    """``Sources`` of the HTTP door."""

    def __init__(self, verdicts: Verdicts, standing: Standing) -> None:
        self.names = verdicts.names
        self.verdict = verdicts.verdict
        self.report = verdicts.report
        self.metrics = Metrics(standing).page
