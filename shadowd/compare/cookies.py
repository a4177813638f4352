"""Set-Cookie fields of two answers (sans-IO). A cookie is its name, domain and path (RFC 6265 §5.3), in any order.

A field is ``name``, and ``name; attribute`` for each attribute: a session's value is always another, its HttpOnly must
not be. Where an answer sets several of one name they are ``name@/path``. Values are never shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shadowd.compare.alike import Alike, http_time
from shadowd.compare.difference import Collector, Difference

#: Attributes of a cookie; RFC 6265bis knows eight.
_ATTRIBUTES = 32
#: Before this a date deletes the cookie (1971).
_DELETES = 365 * 86400 * 10**9

_Key = tuple[str, str, str]
_Cookie = tuple[str, dict[str, str]]


def compare_cookies(
    production: Iterable[str], candidate: Iterable[str], found: Collector, alike: Alike | None = None
) -> None:
    """What differs, into ``found``. Cookies of the same name, domain and path are compared; then those that only one
    side sets under this name in pairs, so that a changed path is no lost cookie."""
    ours, theirs = _cookies(production), _cookies(candidate)
    if not ours and not theirs:
        return
    several = {name for side in (ours, theirs) for name, count in Counter(key[0] for key in side).items() if count > 1}
    left: dict[str, list[_Key]] = {}
    pairs: list[tuple[_Key, _Key | None]] = []
    for key in theirs:
        if key not in ours:
            left.setdefault(key[0], []).append(key)
    for key in ours:
        if key in theirs:
            pairs.append((key, key))
        else:
            # Of several the domain or the path tells which: another one is no substitute.
            others = left.get(key[0]) if key[0] not in several else None
            pairs.append((key, others.pop(0) if others else None))
    for key, other in pairs:
        label = _label(key, several)
        if other is None:
            found.add(Difference("cookie", label, "missing", "set"))
        else:
            _compare(label, ours[key], theirs[other], found, alike)
    for keys in left.values():
        for key in keys:
            found.add(Difference("cookie", _label(key, several), "extra", "", "set"))


def _cookies(values: Iterable[str]) -> dict[_Key, _Cookie]:
    """Value and attributes (lower case); the last of a key counts, as in a browser (RFC 6265 §5.3 step 11)."""
    cookies: dict[_Key, _Cookie] = {}
    for value in values:
        pair, *rest = value.split(";", _ATTRIBUTES)
        name, _, content = pair.partition("=")
        attributes = {}
        for attribute in rest:
            key, _, setting = attribute.partition("=")
            if key.strip():
                attributes[key.strip().lower()] = setting.strip()
        domain = attributes.get("domain", "").lower().lstrip(".")
        cookies[name.strip(), domain, attributes.get("path", "")] = (content.strip(), attributes)
    return cookies


def _label(key: _Key, several: set[str]) -> str:
    return f"{key[0]}@{key[1]}{key[2]}" if key[0] in several else key[0]


def _compare(label: str, production: _Cookie, candidate: _Cookie, found: Collector, alike: Alike | None) -> None:
    p, c = production, candidate
    if p[0] != c[0] and not (alike is not None and alike.texts(p[0], c[0])):
        found.add(Difference("cookie", label, "value", _hidden(p[0]), _hidden(c[0])))
    for key in {**p[1], **c[1]}:
        path, ours, theirs = f"{label}; {key}", p[1].get(key), c[1].get(key)
        if theirs is None:
            found.add(Difference("cookie", path, "missing", ours or "set"))
        elif ours is None:
            found.add(Difference("cookie", path, "extra", "", theirs or "set"))
        elif ours.lower() != theirs.lower() and not _same(key, ours, theirs, alike):
            found.add(Difference("cookie", path, "value", ours, theirs))


def _same(key: str, production: str, candidate: str, alike: Alike | None) -> bool:
    """Whether two settings that are written otherwise say the same."""
    if key == "expires":  # counted from the moment of the answer
        p, c = http_time(production), http_time(candidate)
        if p and c and (p < _DELETES) != (c < _DELETES):
            return False
        offsets = alike.offsets(production, candidate) if alike is not None else None
        return offsets is None or offsets
    if key == "domain":
        p_domain, c_domain = production.lower().lstrip("."), candidate.lower().lstrip(".")
        return p_domain == c_domain or (alike is not None and alike.texts(p_domain, c_domain))
    return key == "max-age" and alike is not None and alike.countdown(production, candidate)


def _hidden(value: str) -> str:
    """Cookie values are secrets more often than not."""
    return f"{len(value)} characters, not shown"
