"""Every error a person may see: one line that says what is wrong and what to do, and an exit code.

Exit codes: 0 ok, 1 failed, 2 usage.
"""

from __future__ import annotations


class ShadowdError(Exception):
    """A failure worth showing to the operator as ``what is wrong — what to do``.

    ``problem`` and ``remedy`` are plain sentences without a trailing full stop; ``exit_code`` is what the command
    line returns.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} — {self.remedy}" if self.remedy else self.problem


class UsageError(ShadowdError):
    """The request itself is wrong: a bad URL, port, CIDR, rate or name (exit code 2)."""

    exit_code = 2


class ItselfError(UsageError):
    """A target is production itself."""


class ConfigError(UsageError):
    """A configuration that cannot be used; ``problem`` lists every fault, a line each."""


class PlatformError(ShadowdError):
    """The kernel, a capability or a system package is missing (exit code 1)."""
