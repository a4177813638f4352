"""What production said some time ago (sans-IO).

To twins alone, production that changes in mid-run — another colour of a blue-green pair, a deploy — looks like a
candidate that changed: both of the candidate's answers agree and production's is the odd one out. Production's own past
tells the two apart: who says now what production said *before the difference began*?

=============================  ========================  ===========================
production then and now        the candidate now         who changed
=============================  ========================  ===========================
differ                         as production then        production (``moved``)
agree                          another                   the candidate (``stayed``)
=============================  ========================  ===========================

Two samples of the past are kept, each of answers in which both sides agreed last, as far as there were such:

- of some *requests*, by the smallest check sums of their targets: whichever request is in the sample is recognised
  whenever it comes again, be it an hour later (a bottom-k sample: E. Cohen, H. Kaplan, "Summarizing data using bottom-k
  sketches", 2007);
- two of each *endpoint*, for what is the same in all its answers, such as a header with the colour. That some answer
  once said the same is worth less: it counts (``turned``) only where both do, and only while all pairs differ or none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from hashlib import blake2b

from shadowd.evidence.evidence import Endpoint, Field
from shadowd.exchange.exchange import Request, Response

MAX_REQUESTS = 128  # whose earlier answers are kept, of up to MAX_ANSWER bytes: 1 MB
OF_ENDPOINT = 2  # of 500 endpoints at most: 8 MB, if all their answers are that large
MAX_ANSWER = 8 << 10  # with its head: a larger one is not remembered
#: How much earlier than a difference's beginning (ns): exchanges that were under way then may show either.
BEFORE = 1_000_000_000
#: Looks at the past for one field: enough to tell, and no more work than that.
LOOKS = 64


Place = tuple[str, str]
#: The places in which two answers differ: of an earlier one, and one of now.
Places = Callable[[Response, Response], set[Place]]


def is_power_of_two(pairs: int) -> bool:
    """Of how many pairs of an endpoint the last one is kept."""
    return pairs & (pairs - 1) == 0


def identity(request: Request) -> bytes:
    """What tells requests that ask for the same: heads may have 64 KB, and hundreds are remembered."""
    return blake2b(request.head, digest_size=16).digest()


class Earlier:
    """See the module's head."""

    __slots__ = ("_largest", "_of_endpoints", "_of_requests")

    def __init__(self) -> None:
        self._of_requests: dict[tuple[int, bytes], Response] = {}  # by check sum of the target, and identity
        self._largest = 1 << 32  # a check sum from which on a target is not in the sample
        self._of_endpoints: dict[str, list[Response]] = {}

    def keep(self, request: Request, endpoint: Endpoint, production: Response, agreed: bool) -> None:
        """After a pair; ``agreed``: it did not differ in anything."""
        if len(production.head) + len(production.body) > MAX_ANSWER or production.digest:
            return  # of a digest nothing can be compared later
        check = zlib.crc32(request.target)
        if check < self._largest:
            key = (check, identity(request))
            if agreed or key not in self._of_requests:
                self._of_requests[key] = production
                if len(self._of_requests) > MAX_REQUESTS:
                    self._shrink()
        if is_power_of_two(endpoint.pairs):  # ever rarer, and so seldom from the last moments alone
            kept = self._of_endpoints.setdefault(endpoint.name, [])
            if agreed and len(kept) >= OF_ENDPOINT:
                del kept[0]
            if len(kept) < OF_ENDPOINT:
                kept.append(production)

    def look(
        self, request: Request, endpoint: Endpoint, fields: Iterable[Field], production: Response, candidate: Response,
        places: Places,
    ) -> None:  # fmt: skip
        """Counts for each of the fields, in which the pair differs, who changed."""
        asked = [field for field in fields if field.moved + field.stayed + field.turned < LOOKS]
        if not asked:
            return
        of_request = self._of_requests.get((zlib.crc32(request.target), identity(request)))
        if of_request is not None:
            here = [field for field in asked if of_request.last_byte + BEFORE < field.began]
            if here:
                moved, apart = places(of_request, production), places(of_request, candidate)
                for field in here:
                    place = (field.where, field.path)
                    field.moved += place in moved and place not in apart
                    field.stayed += place not in moved
                return
        before = self._of_endpoints.get(endpoint.name, ())
        here = [field for field in asked if all(old.last_byte + BEFORE < field.began for old in before)]
        if len(before) < OF_ENDPOINT or not here:
            return
        always = set.intersection(*(places(old, production) for old in before))
        never = set.union(*(places(old, candidate) for old in before))
        for field in here:
            field.turned += (field.where, field.path) in always - never

    def _shrink(self) -> None:
        self._largest = max(check for check, _ in self._of_requests)
        self._of_requests = {key: kept for key, kept in self._of_requests.items() if key[0] < self._largest}
