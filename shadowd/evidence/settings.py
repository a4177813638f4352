"""How a candidate is compared (sans-IO): what the operator said, in the units that the examiner counts in."""

from __future__ import annotations

from collections.abc import Sequence

from shadowd.compare.difference import Options
from shadowd.evidence.margins import Margins
from shadowd.talk.llm import Price


class Settings:
    """How a candidate is compared. ``twin``: share of safe requests sent twice, without a baseline."""

    __slots__ = (
        "baseline",
        "citations",
        "content",
        "critical_endpoints",
        "first_look",
        "margins",
        "min_span",
        "options",
        "preserve_host",
        "prices",
        "refusal",
        "routes",
        "run_key",
        "similarity",
        "twin",
        "warmup",
    )  # fmt: skip

    def __init__(
        self,
        options: Options | None = None,
        margins: Margins | None = None,
        routes: Sequence[str] = (),
        twin: float = 0.05,
        baseline: bool = False,
        run_key: str = "",
        first_look: int = 10_000,
        critical_endpoints: Sequence[str] = (),
        content: bool = True,
        prices: Sequence[Price] = (),
        citations: str = "",
        similarity: str = "",
        min_span: float = 60.0,
        warmup: float | None = None,
        preserve_host: bool = False,
        refusal: str = "",
    ) -> None:
        self.refusal = refusal  # the operator's own pattern of refusals in prose
        self.preserve_host = preserve_host  # the shadow is asked with production's Host
        self.min_span = round(min_span * 1e9)  # ns of evidence before anything passes or fails
        #: ns of the candidate's first exchanges that are no evidence; None: while its latency falls, 5 minutes at most
        self.warmup = None if warmup is None else round(warmup * 1e9)
        self.similarity = similarity  # folder of an embedding model; "": by edits
        self.prices = tuple(prices)  # of models: what a conversation costs is judged if there are any
        self.citations = citations  # JSON path of what an answer cites, "" if it is not looked for
        self.content = content  # whether values, examples and messages are kept for people, or measures alone
        self.critical_endpoints = tuple(critical_endpoints)  # each needs ``margins.min_samples`` for a pass
        self.options = options or Options()
        self.margins = margins or Margins()
        self.routes = tuple(routes)
        self.twin = twin
        self.baseline = baseline
        self.run_key = run_key
        self.first_look = first_look  # requests after which the shadow's memory is first judged

    @property
    def mode(self) -> str:
        """Where noise is learned from."""
        return "baseline" if self.baseline else "twin" if self.twin else "none"
