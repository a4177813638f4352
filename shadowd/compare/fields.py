"""Header values by their meaning (sans-IO): what RFC 9110 says is the same has one canonical form.

==============================================  ==================================================================
any field                                       repeated lines are one list (§5.3), blanks around commas are none
Content-Type, Accept-Post, Accept-Patch         case, blanks, quotes, order of parameters (§8.3.1); the boundary of a
                                                multipart body is apart
ETag                                            weakly compared (§8.8.3.2): ``W/"a"`` is ``"a"``
Vary, Allow, Accept-*, Cache-Control ...        sets: order says nothing, nor does the case of names
Link                                            order says something among links of one relation alone (RFC 8288)
Content-Security-Policy                         directives and their sources are sets; a nonce is a new one each time
Content-Disposition, Strict-Transport-Security  parameters
==============================================  ==================================================================

Which fields are overlooked: see ``overlooked``.
"""

from __future__ import annotations

import re

#: Sets of names whose case says nothing.
_SETS = frozenset(
    {
        "vary", "accept", "accept-ch", "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
        "access-control-allow-headers", "access-control-expose-headers", "cache-control", "pragma", "surrogate-control",
        "cdn-cache-control", "content-language", "timing-allow-origin", "preference-applied", "critical-ch",
    }
)  # fmt: skip
#: Sets of names whose case does: methods (RFC 9110 §9.1), quoted types of data.
_EXACT_SETS = frozenset({"allow", "access-control-allow-methods", "clear-site-data", "dav"})
_VERBATIM = frozenset({"location", "content-location"})
_MEDIA = frozenset({"content-type", "accept-post", "accept-patch"})
_PARAMETERS = frozenset(
    {"content-disposition", "strict-transport-security", "expect-ct", "x-xss-protection", "refresh"}
)
_POLICIES = frozenset({"content-security-policy", "content-security-policy-report-only"})
_CASELESS = frozenset(
    {
        "content-encoding", "x-content-type-options", "x-frame-options", "referrer-policy",
        "cross-origin-opener-policy", "cross-origin-resource-policy", "cross-origin-embedder-policy",
        "access-control-allow-credentials",
        "x-dns-prefetch-control", "x-permitted-cross-domain-policies",
    }
)  # fmt: skip
#: Parameters of Cache-Control and the like that count seconds down where a cache stands before the service.
COUNTDOWNS = re.compile(r"(?i)\b(max-age|s-maxage)=\"?([0-9]{1,18})\"?")
#: Characters of a value that are taken apart; longer ones are compared as they are.
_LONGEST = 16 << 10

_NONCE = re.compile(r"'nonce-[^']*'")
_CHALLENGE = re.compile(r"\b(nonce|opaque)=(?:\"[^\"]*\"|[^,\s]+)", re.IGNORECASE)


def meaning(name: str, value: str) -> object:
    """The canonical form of a field, ``name`` in lower case; equal forms mean the same."""
    if len(value) > _LONGEST:
        return value
    if name in _VERBATIM:
        return value
    if name == "etag":
        return value.removeprefix("W/")
    if name in _CASELESS:
        return _elements(value.lower())
    if name in _MEDIA:
        return [_media(element) for element in _elements(value)]
    if name in _SETS:
        return frozenset(_directive(element) for element in _elements(value))
    if name in _EXACT_SETS:
        return frozenset(_elements(value))
    if name == "link":
        return sorted((_link(element) for element in _elements(value)), key=lambda link: link[0])  # stable
    if name in _PARAMETERS:
        return _parameters(value)
    if name in _POLICIES:
        return sorted(_policy(element) for element in _elements(value))
    if name == "www-authenticate":
        return _elements(_CHALLENGE.sub(r"\1", value))
    return _elements(value)


def _split(text: str, mark: str) -> list[str]:
    """At every ``mark`` outside of quotes and ``<...>``, stripped, without empty pieces. Linear."""
    if '"' not in text and "<" not in text:
        return [piece for part in text.split(mark) if (piece := part.strip())]
    pieces, begin, at, quoted, angled = [], 0, 0, False, False
    while at < len(text):
        letter = text[at]
        if quoted:
            if letter == "\\":
                at += 1
            elif letter == '"':
                quoted = False
        elif letter == '"':
            quoted = True
        elif letter == "<":
            angled = True
        elif letter == ">":
            angled = False
        elif letter == mark and not angled:
            pieces.append(text[begin:at])
            begin = at + 1
        at += 1
    pieces.append(text[begin:])
    return [piece for part in pieces if (piece := part.strip())]


def _elements(value: str) -> list[str]:
    return _split(value, ",")


def unquoted(text: str) -> str:
    """Of a token or a quoted string (RFC 9110 §5.6.4)."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _directive(element: str) -> str:
    name, equals, value = element.partition("=")
    return name.strip().lower() + (f"={unquoted(value).lower()}" if equals else "")


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """``form-data; name="a"``: the first part in lower case, and its parameters unquoted; the first of a name."""
    first, *rest = _split(value, ";") or [""]
    found: dict[str, str] = {}
    for part in rest:
        name, _, setting = part.partition("=")
        found.setdefault(name.strip().lower(), unquoted(setting))
    return first.lower(), found


def _parameters(value: str) -> tuple[str, ...]:
    return tuple(sorted(_directive_as_written(part) for part in _split(value, ";")))


def _directive_as_written(part: str) -> str:
    name, equals, value = part.partition("=")
    return name.strip().lower() + (f"={unquoted(value)}" if equals else "")


def _media(element: str) -> tuple[object, ...]:
    kind, found = parameters(element)
    kind = "/".join(part.strip() for part in kind.split("/"))
    if kind.startswith("multipart/"):
        found.pop("boundary", None)
    if "charset" in found:
        found["charset"] = found["charset"].lower()
    return (kind, *sorted(found.items()))


def _link(element: str) -> tuple[str, str]:
    parts = _split(element, ";")
    rest = sorted(_directive_as_written(part) for part in parts[1:])
    rel = next((part for part in rest if part.startswith("rel=")), "")
    return rel.lower(), "; ".join((*parts[:1], *rest))


def _policy(element: str) -> list[str]:
    directives = []
    for part in _NONCE.sub("'nonce'", element).split(";"):
        words = part.split()
        if words:
            directives.append(" ".join((words[0].lower(), *sorted(set(words[1:])))))
    return sorted(directives)


# --- overlooked -------------------------------------------------------------------------------------------------------

#: Which host, cache or trace answered: on another host another value, whatever the version.
OVERLOOKED = frozenset(
    {
        # caches
        "x-varnish", "x-timer", "cf-cache-status", "cdn-cache", "x-cdn", "cache-status", "cdn-cachedat", "x-hits",
        # hosts
        "x-served-by", "x-server", "x-server-id", "x-server-name", "x-backend", "x-backend-server", "x-backend-name",
        "x-upstream", "x-upstream-addr", "x-pod", "x-pod-name", "x-pod-ip", "x-hostname", "x-host", "x-host-name",
        "x-node", "x-node-id", "x-node-name", "x-instance", "x-instance-id", "x-instance-name", "x-machine",
        "x-machine-name", "x-container", "x-container-id", "x-container-name", "x-replica", "x-worker", "x-worker-id",
        "x-handled-by", "x-processed-by", "x-powered-by-server", "x-app-server", "x-web-server", "x-webserver",
        "x-servername", "x-datacenter", "x-served-from", "x-proxy-id", "x-edge-location", "x-amz-cf-pop",
        "fly-machine-id", "x-fly-region",
        # times
        "server-timing", "x-runtime", "x-response-time", "x-process-time", "x-processing-time", "x-request-time",
        "x-elapsed-time", "x-execution-time", "x-duration", "x-envoy-upstream-service-time", "x-upstream-response-time",
        "x-kong-upstream-latency", "x-kong-proxy-latency", "x-kong-response-latency", "x-took", "x-generated-at",
        # requests and traces
        "mcp-session-id", "request-id", "correlation-id", "trace-id", "requestid", "x-requestid", "x-req-id",
        "x-transaction-id", "traceparent", "tracestate", "traceresponse", "x-trace", "x-trace-id", "x-span-id",
        "x-cloud-trace-context",
        "x-amzn-trace-id", "uber-trace-id", "b3", "cf-ray", "x-amz-cf-id", "x-amz-id-2", "x-azure-ref", "x-vercel-id",
        "x-ms-activity-id", "x-guploader-uploadid", "x-sentry-trace", "sentry-trace", "x-unique-id", "x-akamai-edge",
    }
)  # fmt: skip
#: The same under a vendor's prefix: X-Amzn-RequestId, X-Proxy-Cache-Status, X-B3-TraceId, X-Datadog-Trace-Id.
_VENDORS = re.compile(
    r"(?:x-)?(?:[a-z0-9]+-){0,3}"
    r"(?:request-?id|correlation-?id|trace-?id|span-?id|parent-?span-?id|parent-?id|sampled)\Z"
    r"|x-(?:[a-z0-9]+-){0,3}cache(?:-(?:hits?|status|lookup|remote|info|result|key|date|age|node|server|group))?\Z"
    r"|x-(?:[a-z0-9]+-){0,2}(?:hostname|pod-?name|pod|served-by|handled-by|node-?name|instance-?id|upstream-addr)\Z"
)
#: Whatever the lists say: what these say is the service's.
_SPOKEN = ("content-", "cache-control", "location", "www-", "access-control-", "set-", "authorization")


def overlooked(name: str) -> bool:
    """Whether a field (lower case) says which host, cache or trace answered and is compared only where it was asked
    for: ``--compare-header``."""
    return (name in OVERLOOKED or _VENDORS.match(name) is not None) and not name.startswith(_SPOKEN)
