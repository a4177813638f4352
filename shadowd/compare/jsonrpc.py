"""Messages of JSON-RPC laid beside each other by what they answer, not by where they stand (sans-IO).

A response belongs to the request whose ``id`` it repeats (JSON-RPC 2.0 §5). Those of a batch come in any order (§6);
in a stream other messages may come before them (MCP 2025-06-18, "Streamable HTTP").

=====================  =========================================================================================
both sides answer      compared
=====================  =========================================================================================
a batch                responses of one id with each other; those without a partner, and several of one id (the
                       parts of A2A's ``message/stream``), in their order
a stream with one      that response, as it is without a stream: ``$.result.content``
response
a stream with more,    ``$.responses[*]``, as a batch
or with none
=====================  =========================================================================================

What a server says in a stream without being asked (``notifications/progress``) stands beside the responses by its
method: ``$['(sent)']['notifications/progress'][*].params``. It is in order among its like, and in none with the rest.
Of the events themselves nothing is compared: ids and ``retry`` tell where a stream may be taken up again.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

#: Beside the members of a response; no member of JSON-RPC is called so.
SENT = "(sent)"
_FIRST = frozenset({"id", "result", "error"})  # JSON-RPC 1.0 §1.2: a response has all three, and no version
_EVENT = frozenset({"data", "id", "retry"})


def in_order(production: Any, candidate: Any) -> Any:
    """``candidate`` with its responses where production's of the same id are; as it is if production's is no batch."""
    if type(production) is not list or type(candidate) is not list or not production:
        return candidate
    return _ordered(production, candidate) if all(map(_is_response, production)) else candidate


def streams(production: dict[str, Any], candidate: dict[str, Any]) -> tuple[Any, Any] | None:
    """Two documents of events (``event_bodies``) by their messages; None if one has an event that is no message, or
    was cut off."""
    ours, theirs = _messages(production), _messages(candidate)
    if ours is None or theirs is None or not (ours or theirs):
        return None
    p, c = ([one for one in side if "method" not in one] for side in (ours, theirs))
    if len(p) == len(c) == 1:
        documents: tuple[dict[str, Any], dict[str, Any]] = dict(p[0]), dict(c[0])
    else:
        documents = {"responses": p}, {"responses": _ordered(p, c)}
    sent = [_by_method(side) for side in (ours, theirs)]
    for document, own, other in zip(documents, sent, reversed(sent), strict=True):
        if own or other:
            document[SENT] = {method: own.get(method, []) for method in (*own, *other)}
    return documents


def _is_response(message: Any) -> bool:
    if type(message) is not dict or "id" not in message or "method" in message:
        return False
    if "jsonrpc" in message:
        return "result" in message or "error" in message
    return bool(message.keys() == _FIRST)


def _key(message: Any) -> tuple[type, Any] | None:
    """Its id: a string, a number or null (§5); None if it has none. An id that comes back as another type is not the
    client's."""
    if not _is_response(message):
        return None
    found = message["id"]
    return (type(found), found) if found is None or type(found) in (str, int, float) else None


def _ordered(production: list[Any], candidate: list[Any]) -> list[Any]:
    """Each message of the candidate's in the place of its partner; the others fill the places that are left."""
    partners: defaultdict[Any, deque[int]] = defaultdict(deque)
    for at, message in enumerate(production):
        key = _key(message)
        if key is not None:
            partners[key].append(at)
    placed: dict[int, Any] = {}
    alone: deque[Any] = deque()
    for message in candidate:
        key = _key(message)
        if key is not None and partners.get(key):
            placed[partners[key].popleft()] = message
        else:
            alone.append(message)
    made = []
    for at in range(len(production)):
        if at in placed:
            made.append(placed[at])
        elif alone:
            made.append(alone.popleft())
    return made + list(alone)


def _messages(document: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Of a stream's events, batches in them taken apart; None if one is none."""
    if document.keys() != {"events"}:
        return None
    found: list[dict[str, Any]] = []
    for event in document["events"]:
        said = event.get("message")
        if said is None or not said.keys() <= _EVENT:
            return None
        data = said.get("data", "")
        if data == "":  # the first event of a stream may carry nothing but its id
            continue
        for message in data if type(data) is list else (data,):
            if not _is_response(message) and not _is_sent(message):
                return None
            found.append(message)
    return found


def _is_sent(message: Any) -> bool:
    return type(message) is dict and "jsonrpc" in message and type(message.get("method")) is str


def _by_method(messages: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in messages:
        if "method" in message:
            found[message["method"]].append(message)
    return found
