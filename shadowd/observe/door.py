"""What monitoring asks of the daemon, gathered from those who know it (``observe/http.py`` speaks HTTP)."""

from __future__ import annotations

from shadowd.observe.metrics import Metrics
from shadowd.service.health import Health
from shadowd.service.standing import Standing


class Monitor:
    """Health and metrics: what both doors serve."""

    def __init__(self, health: Health, standing: Standing) -> None:
        self.dead = health.dead
        self.unready = health.unready
        self.metrics = Metrics(standing).page
