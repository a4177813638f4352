"""What the HTTP door answers, and what it reads of requests: JSON, sentences, Flagger's words."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.serving import named
from shadowd.observe.token import Token
from shadowd.redact.quoting import visible

ANSWER_SECONDS = 8.0  # Argo Rollouts gives up after 10 s by default
CHECKSUM = "flagger-"  # before the checksum of a rollout, as a label

log = logging.getLogger("shadowd.http")


def unknown(name: str, names: list[str]) -> ShadowdError:
    listed = f"filters: {', '.join(names[:20])}" if names else "there are no filters yet"
    return UsageError(f"there is no filter {visible(name, 64)}", listed)


def undecided(error: ShadowdError) -> dict[str, Any]:
    return {"verdict": "inconclusive", "score": None, "reasons": [str(error)], "error": str(error)}


def sentence(found: dict[str, Any]) -> str:
    """What Flagger puts into its log and events."""
    reasons = [visible(reason, 300) for reason in (found.get("reasons") or [])[:5]]
    return f"{found.get('verdict')}: {'; '.join(reasons) or 'no reason was given'}\n"


def from_a_page(request: Request) -> Response | None:
    """A refusal for what a web page could have sent: such a request needs no leave of ours (Fetch, §3.2.2 and
    §2.2.2: CORS-safelisted headers), so that one which does is none of a page."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "x-shadowd" in request.headers or kind == "application/json":
        return None
    return json_response({"error": "the header X-Shadowd is missing — add it: curl -X POST -H 'X-Shadowd: run' …"}, 403)


def refused(token: Token | None, as_json: bool) -> Response:
    """What asks for the token; browsers ask for it as a password, of any user."""
    path = token.path if token is not None else "http_token_file"
    error = f'this shows parts of what traffic said — give the token: -H "Authorization: Bearer $(cat {path})"'
    headers = {"www-authenticate": 'Basic realm="shadowd: any user, and the token as password"'}
    if as_json:
        body = json.dumps({"error": error})
        return Response(f"{body}\n", 401, headers, media_type="application/json")
    return Response(f"{error}\n", 401, headers, media_type="text/plain")


def without_content(found: dict[str, Any]) -> dict[str, Any]:
    """A verdict without the words of errors: they are of bodies."""
    findings = found.get("findings")
    if not isinstance(findings, list):
        return found
    told = []
    for one in findings:
        signature = one.get("signature") if isinstance(one, dict) else None
        if isinstance(signature, dict):
            one = {**one, "signature": {key: value for key, value in signature.items() if key != "title"}}
        told.append(one)
    return {**found, "findings": told}


def flagger_label(body: bytes) -> str:
    """The build that Flagger's webhook speaks of: ``metadata.label``, else the checksum of what is rolled out, which
    stays the same for a rollout; "" where there is neither."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(payload, dict):
        return ""
    metadata, checksum = payload.get("metadata"), payload.get("checksum")
    if isinstance(metadata, dict) and isinstance(metadata.get("label"), str) and metadata["label"]:
        return str(metadata["label"])
    return f"{CHECKSUM}{checksum}" if isinstance(checksum, str) and checksum else ""


def told(error: Exception, what: str) -> ShadowdError:
    """The error for the client; one that is ours to mend is logged."""
    if isinstance(error, ShadowdError):
        return error
    if isinstance(error, trio.TooSlowError):
        return ShadowdError(f"{what} took longer than {ANSWER_SECONDS:g} s", "try again")
    log.error("http: %s failed: %s", what, named(error), exc_info=error)
    return ShadowdError(f"{what} failed: {named(error)}", "see the daemon's log")


async def body_of(request: Request) -> bytes:
    """The body, so that the connection can go on."""
    pieces: list[bytes] = []
    try:
        with trio.move_on_after(ANSWER_SECONDS):
            async for piece in request.stream():
                pieces.append(piece)
    except ClientDisconnect:
        pass  # there is nobody to answer
    return b"".join(pieces)


def json_response(value: Any, status: int = 200) -> Response:
    try:
        body = json.dumps(value, allow_nan=False, ensure_ascii=True)
    except (ValueError, TypeError):
        body = json.dumps(_plain(value), allow_nan=False, ensure_ascii=True)
    return Response(f"{body}\n", status, media_type="application/json")


def _plain(value: Any) -> Any:
    """The same in what JSON has: no NaN, no infinity, and text for anything strange."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
