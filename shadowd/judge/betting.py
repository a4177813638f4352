"""The bets of the judges: worked out in ``evidence/betting.py``, since evidence that comes in blocks needs them too."""

from __future__ import annotations

from shadowd.evidence.betting import Counts, log_e_above, log_e_below, lower_bound, samples_needed, upper_bound

__all__ = ["Counts", "log_e_above", "log_e_below", "lower_bound", "samples_needed", "upper_bound"]
