"""What is known of one member of a JSON document, and of the object or array that is open (sans-IO)."""

from __future__ import annotations

import re

#: Members that name what another member of the same object holds.
LABELS = frozenset(
    {"name", "key", "k", "id", "field", "param", "parameter", "header", "property", "attribute", "variable", "setting",
     "option", "claim", "envvar", "env", "column", "fieldname", "keyname", "path", "loc", "pointer", "target",
     "instancepath", "propertypath", "propertyname", "attr"}
)  # fmt: skip
_NAMING = ("name", "key", "label", "field")  # keyName, settingKey
_KINDS = frozenset({"type", "kind", "purpose"})  # these too, but of passwords alone: ``token`` is a kind of many things
_HELD = frozenset(
    {"value", "v", "val", "values", "content", "default", "defaultvalue", "rawvalue", "stringvalue", "plaintext",
     "newvalue", "oldvalue", "new", "old", "before", "after", "current", "previous", "text", "data", "input",
     "rejectedvalue", "received", "actual", "given", "got", "example", "result", "payload", "property",
     "repeat", "confirm", "again", "retype", "lhs", "rhs", "was", "now", "prev", "original", "modified", "from", "to",
     "left", "right"}
)  # fmt: skip
#: Members of events that repeat and hold no part of a text.
_REPEATED = frozenset(
    {"id", "type", "object", "model", "role", "event", "name", "status", "index", "created", "finish_reason",
     "system_fingerprint", "obfuscation", "signature", "provider", "native_finish_reason", "created_at",
     "stop_reason", "phase", "responseid", "modelversion"}
)  # fmt: skip
#: Members that name a procedure; if it logs somebody in, the arguments by their place are secrets.
_CALLS = frozenset({"method", "procedure", "function", "action", "command", "cmd", "op", "operation", "rpc", "call"})
_ID = re.compile(
    r"(?:\A|[_.-])(?:id|ids|uuid|guid|ulid|cuid|uid|etag|fingerprint|sha[0-9]{0,3}|shasum|commit|digest|checksum|revision"
    r"|ref|parent|cursor|integrity|trace|span|etags?|md5|slug|after|before|avatar|icon|banner)\Z"
    r"|[a-z0-9](?:Id|ID|Ids|Sha|Hash|Digest|Uuid|Guid|Uid|UID|Ref|Cursor|Fingerprint|Head|Checksum)\Z"
    r"|\A(?:ID|Id|SHA|ETag|UUID)\Z"
)


class Member:
    """What the name of a member says."""

    __slots__ = (
        "bare",
        "calls",
        "describes",
        "held",
        "identifies",
        "kind",
        "labels",
        "low",
        "repeated",
        "secret",
        "shown",
        "weak",
    )

    def __init__(self, name: str, secret: bool, shown: str, weak: bool) -> None:
        self.secret = secret
        self.shown = shown  # the name, redacted
        self.weak = weak
        self.low = low = name.lower()
        self.kind = low in _KINDS
        self.labels = self.kind or low in LABELS or low.endswith(_NAMING)
        self.held = low in _HELD or low.endswith("value")
        self.calls = low in _CALLS
        self.bare = low in ("key", "code", "community", "a")
        self.identifies = _is_id(name)
        self.repeated = self.identifies or low in _REPEATED


class Frame:
    """One open object or array."""

    __slots__ = ("before", "calls", "columns", "deep", "first", "fresh", "headings", "is_object", "key",
                 "label", "leads", "member", "pending", "place", "score", "secret", "tokens", "told")  # fmt: skip

    def __init__(self, secret: bool, is_object: bool) -> None:
        self.secret = secret
        self.is_object = is_object
        self.told = False  # what describes the secret is none
        self.first = True  # nothing was opened in it yet
        self.leads = False  # it is the first of an array
        self.key = ""
        self.member = NONE
        self.label = False  # a member said that another one is secret
        self.pending: list[tuple[int, int, str]] = []  # values whose label may follow
        self.before = ""  # the string before, of an array
        self.tokens: list[int] = []  # edits of members named token, by their index
        self.score = False
        self.calls = False  # a member named a procedure that logs in
        self.deep = False  # ``label`` holds for what is below as well
        self.headings: list[str] | None = None  # of an array that names columns
        self.columns: dict[int, str] | None = None  # names of cells that are secret, of this array or of those below
        self.fresh = False  # whether they were named in this very object
        self.place = 0  # in an array with ``columns``


def _is_id(name: str) -> bool:
    return len(name) < 64 and _ID.search(name) is not None


NONE = Member("", False, "", False)
