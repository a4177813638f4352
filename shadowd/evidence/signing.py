"""Which errors were met, by signature, on which side, and examples of them (sans-IO)."""

from __future__ import annotations

from shadowd.compare.content import content_untrusted
from shadowd.compare.inband_wire import InBand
from shadowd.compare.signatures import Signature, signature_of
from shadowd.evidence.contents import Contents, Moment
from shadowd.evidence.evidence import Endpoint, SignatureCount
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Response

MAX_SIGNATURES = 500
SIGNATURE_ENDPOINTS = 10  # named with a signature
SIGNATURE_BODY = 64 << 10  # bytes of a body in which errors are looked for


class Signatures:
    """Of one run, by fingerprint. ``contents`` keeps the examples."""

    __slots__ = ("_contents", "known")

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.known: dict[str, SignatureCount] = {}

    def note(
        self, trial: Trial, endpoint: Endpoint, moment: Moment, inside: tuple[InBand | None, InBand | None]
    ) -> None:
        """Of both sides of an exchange; ``inside``: errors within answers whose status says that all is well."""
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        for mine, found in enumerate(inside):
            if found is not None:
                self._sign(found.signature, endpoint, moment, mine, b"", trial)
        if candidate is None:
            self._sign(signature_of(0, None, side.failure), endpoint, moment, 1, b"", trial)
        elif candidate.status >= 400:
            self._sign_answer(candidate, endpoint, moment, 1, trial)
        if production is None:
            self._sign(signature_of(0, None, exchange.failure), endpoint, moment, 0, b"", trial)
        elif production.status >= 400:
            self._sign_answer(production, endpoint, moment, 0, trial)

    def _sign_answer(self, response: Response, endpoint: Endpoint, moment: Moment, mine: int, trial: Trial) -> None:
        content = content_untrusted(response.head, response.body, SIGNATURE_BODY)
        # what was looked at elsewhere is cut here
        signature = trial.faults[mine].signature if trial.faults else signature_of(response.status, content)
        self._sign(signature, endpoint, moment, mine, content.data[:2048], trial)

    def _sign(
        self, signature: Signature | None, endpoint: Endpoint, moment: Moment, mine: int, example: bytes, trial: Trial
    ) -> None:
        if signature is None:
            return
        if not self._contents.settings.content:
            signature, example = signature.wordless(), b""
        known = self.known.get(signature.fingerprint)
        if known is None:
            if len(self.known) >= MAX_SIGNATURES:
                return
            known = self.known[signature.fingerprint] = SignatureCount(signature, moment.time)
        known.last = moment.time
        if not mine:
            known.production_count += 1
            return
        known.count += 1
        known.example = known.example or example
        if len(known.endpoints) < SIGNATURE_ENDPOINTS:
            known.endpoints[endpoint.name] = None
        if self._contents.settings.content and (known.count <= 3 or known.count & (known.count - 1) == 0):
            exchange, side = trial.exchange, trial.candidate
            self._contents.remember(
                signature.fingerprint, endpoint, exchange.request, exchange.response or exchange.failure,
                side.response or side.failure, moment.time,
            )  # fmt: skip
