"""State drift: answers that differ because production was written to and the shadow was not (sans-IO).

A write that is not mirrored leaves traces, and what differs is held against them:

===========  =======================================================  ==============================================
why          the trace                                                what is suspected
===========  =======================================================  ==============================================
``path``     the written path, the resource and collection that it    reads of these, and below a written resource
             lies in, ``Location`` and ``Content-Location``
``entity``   ids: in the written path, in the JSON or form that was   reads with that id in path or query, if what
             sent (``product_id``), in production's answer (``id``)   differs there differs *only* with such an id
``session``  credentials that production's answer handed out:         requests that carry one of them
             cookies, tokens in JSON, token headers
``logout``   credentials that the write ended at production           likewise
===========  =======================================================  ==============================================

``path`` and ``session`` are plain enough to be believed at once. An id may be on every path (a tenant's), so of ids it
is counted how often the same place of the same kind of path differed without one: a fault of the release does not care
which entity was written to. Of credentials only short hashes are kept.

``suspects`` is asked of exchanges that differ, and of them alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable
from typing import Any

from shadowd.evidence.credentials import carried, changes, hashed, leaves
from shadowd.evidence.endpoints import is_variable
from shadowd.evidence.entities import MAX_ID, MAX_PATH, ids_sent, ids_shown, path_of, reads, told_by
from shadowd.exchange.exchange import Request, Response

#: Written resources remembered, the oldest forgotten first: at 100 writes a second the last minutes.
MAX_WRITTEN = 16_384
MAX_ENTITIES = 16_384
#: Credentials remembered: ten logins a second for an hour. 4 MB.
MAX_CREDENTIALS = 32_768
MAX_SEGMENTS = 16
#: Kinds of path and places of which it is counted how they differ.
MAX_PLACES = 4096
PLACES = 32  # of one exchange
#: "Only": one in fifty may differ without an id that was written, and one at first (its link to a write was not seen).
APART = 50

_LOCATION = re.compile(rb"(?im)^(?:content-)?location:[ \t]*([^\r\n]*)")
_PARAMETER = re.compile(rb"[?&]([^=&#]{1,64})=([^&#]{1,64})")
#: Parameters, and members of a request, whose numbers are nobody's id.
_PAGING = re.compile(
    rb"(?i)(?:page|limit|offset|size|count|per_?page|page_?size|skip|take|start|first|last|n|v|version|max|min|top"
    rb"|depth|width|height|w|h|lang|locale|sort|format)\Z"
)
_VARIABLE = re.compile(rb"/[^/]*[0-9@][^/]*|/[^/]{33,}")
_GONE = frozenset({404, 409, 410, 412})
_BARRED = frozenset({401, 403, 419, 440})  # the last two: a session that is over, as Laravel and IIS say it


class Drift:
    """What production knows of and the shadow does not."""

    __slots__ = ("_differing", "_ended", "_entities", "_handed", "_written")

    def __init__(self) -> None:
        self._written: dict[bytes, bool] = {}  # path → whether what lies below it changed too
        self._entities: dict[bytes, bool] = {}
        self._handed: dict[int, bool] = {}
        self._ended: dict[int, bool] = {}
        self._differing: dict[tuple[Hashable, Hashable], list[int]] = {}  # → [with a written id, without]

    # --- what was written ---------------------------------------------------------------------------------------------

    def wrote(self, request: Request) -> None:
        """A write that the shadow did not get; what is POSTed in order to read is none."""
        if reads(request):
            return
        self._note_path(path_of(request.target), request.method != b"POST")
        for name in ids_sent(request):
            self._note_entity(name)

    def told(self, request: Request, response: Response) -> None:
        """Production's answer to it: what it made, and for whom."""
        self._note_credentials(request, response)
        if response.status >= 400 or reads(request):
            return
        made = response.status == 201  # else a Location may be the page that is shown next (after a login, say)
        for location in _LOCATION.findall(response.head):
            self._note_link(location.strip(), made)
        for kind, text in told_by(response):
            if kind == "token":
                self._hand(hashed(text))
            elif kind == "link":
                self._note_link(text, made)
            else:
                self._note_entity(text)

    def _note_path(self, path: bytes, deep: bool) -> None:
        """``deep``: what lies below it is part of it. Of ``/orders/7/pay`` the order 7 and the list of orders too."""
        segments = path.split(b"/")[1 : MAX_SEGMENTS + 1]
        variable = [place for place, segment in enumerate(segments) if is_variable(segment.decode("latin-1"))]
        last = variable[-1] if variable else -1
        deep_here = deep or last == len(segments) - 1 or self._written.get(path, False)
        _remember(self._written, path, deep_here, MAX_WRITTEN)
        self._note_list(path.rpartition(b"/")[0] or b"/")
        if 0 <= last < len(segments) - 1:
            entity = b"/" + b"/".join(segments[: last + 1])
            _remember(self._written, entity, True, MAX_WRITTEN)
            self._note_list(entity.rpartition(b"/")[0] or b"/")
        if deep and last != len(segments) - 1 and len(segments) > 1:
            variable.append(len(segments) - 1)  # PUT /users/alice
        for place in variable[-4:]:
            self._note_entity(segments[place])

    def _note_link(self, target: bytes, made: bool) -> None:
        path = path_of(target)
        if (made and path != b"/") or any(
            is_variable(one.decode("latin-1")) for one in path.split(b"/")[1 : MAX_SEGMENTS + 1]
        ):
            self._note_path(path, True)

    def _note_list(self, path: bytes) -> None:
        _remember(self._written, path, self._written.get(path, False), MAX_WRITTEN)

    def _note_entity(self, name: bytes) -> None:
        if 0 < len(name) <= MAX_ID:
            _remember(self._entities, name, True, MAX_ENTITIES)

    def _note_credentials(self, request: Request, response: Response) -> None:
        given, ended = changes(request, response)
        for credential in given:
            self._hand(credential)
        if response.status < 400 and leaves(request.method, path_of(request.target)):
            ended = [*ended, *carried(request)]
        for credential in ended:
            self._handed.pop(credential, None)
            _remember(self._ended, credential, True, MAX_CREDENTIALS)

    def _hand(self, credential: int) -> None:
        self._ended.pop(credential, None)
        _remember(self._handed, credential, True, MAX_CREDENTIALS)

    # --- what differs -------------------------------------------------------------------------------------------------

    def suspects(
        self,
        request: Request,
        places: Collection[Hashable] = (),
        endpoint: str = "",
        response: Response | None = None,
    ) -> str:
        """Why this exchange, which differs, may differ for a write's sake: ``path``, ``entity``, ``session``,
        ``logout``, or "". ``places`` are those that differ (fields, ``status``): an id excuses those that differ with
        written ids only, at this ``endpoint`` (its name; else the kind of path). ``response``: production's answer,
        whose ids count too (the author of a post)."""
        why = self._why(request) if self._written or self._handed or self._ended else ""
        if why and why != "entity":
            return why
        kind = endpoint or _VARIABLE.sub(b"/{}", path_of(request.target))
        found = []
        for place in [*places][:PLACES] or [""]:
            counts = self._differing.get((kind, place))
            if counts is None:
                counts = [0, 0]
                _remember(self._differing, (kind, place), counts, MAX_PLACES)
            found.append(counts)
        if not why and response is not None and self._entities and any(map(_only, found)):
            why = "entity" if any(one in self._entities for one in ids_shown(response)) else ""
        for counts in found:
            counts[not why] += 1
        return why if any(map(_only, found)) else ""

    def _why(self, request: Request) -> str:
        credentials = carried(request) if self._handed or self._ended else ()
        if any(credential in self._ended for credential in credentials):
            return "logout"
        path = path_of(request.target)
        written = self._written
        if path in written:
            return "path"
        above = path
        for _ in range(MAX_SEGMENTS):
            above = above.rpartition(b"/")[0]
            if not above:
                break
            if written.get(above):
                return "path"
        if any(credential in self._handed for credential in credentials):
            return "session"
        return "entity" if self._entities and self._names_entity(path, request.target) else ""

    def _names_entity(self, path: bytes, target: bytes) -> bool:
        entities = self._entities
        if any(segment in entities for segment in path.split(b"/")[1 : MAX_SEGMENTS + 1]):
            return True
        if b"?" not in target:
            return False
        query = target[target.index(b"?") :][: 8 * MAX_PATH]
        return any(v in entities for name, v in _PARAMETER.findall(query) if not _PAGING.match(name))


def _only(counts: list[int]) -> bool:
    """Whether a place differs with written ids only: [with one, without]."""
    return (counts[1] - 1) * APART <= counts[0]


def explains(why: str, production: int, candidate: int) -> bool:
    """Whether two statuses of one exchange may differ for this reason. A server error never does, nor what production
    refuses (401, 403) and the candidate gives: only a session that ended at production excuses that."""
    if not why or not production or not candidate or candidate >= 500 or production >= 500:
        return False
    if why == "logout":
        return (production in _BARRED or 300 <= production < 400) and candidate < 400
    if production < 400 and (candidate in _BARRED or candidate in _GONE):
        return True
    if why == "session":  # a visitor is shown the way to the login
        return production < 300 <= candidate < 400
    return (production < 400 or production in _GONE) and (candidate < 400 or candidate in _GONE)


def _remember(known: dict[Any, Any], key: Hashable, value: object, limit: int) -> None:
    """As the newest of at most ``limit``."""
    known.pop(key, None)
    known[key] = value
    if len(known) > limit:
        del known[next(iter(known))]
