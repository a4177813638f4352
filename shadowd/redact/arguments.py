"""Secrets in calls, rows and pairs of lines that name them: ``define("DB_PASS", "…")``, ``INSERT … VALUES``,
``name: X`` above ``value: …`` (sans-IO). All patterns are possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from shadowd.redact.harmless import refers
from shadowd.redact.names import SecretNames
from shadowd.redact.secrets import Span


def called(text: str, names: SecretNames) -> Iterator[Span]:
    """Arguments and rows: ``define("DB_PASS", "…")``, ``setPassword("…")``, ``INSERT … VALUES``, ``name: X`` above
    ``value: …``."""
    for pattern in (
        *_CALLED,
        _ABOVE,
        _BELOW,
        _BESIDE,
        _CELLS,
        _LABELLED,
        _ARGUED,
        *((_BINARY,) if "\0" in text else ()),
    ):
        yield from (found.span("value") for found in pattern.finditer(text) if names.secret(found["name"]))
    for given in islice(_GIVEN.finditer(text), _STATEMENTS):
        places = bound(text[max(0, given.start() - _STATEMENT) : given.start()], names)
        for place, value in enumerate(_ONE.finditer(text, *given.span("values")) if places else ()):
            if place in places:
                yield value.span(1)
    inserts = list(_INSERT.finditer(text))
    ends = [*(one.start() for one in inserts), len(text)][1:]
    for insert, end in zip(inserts, ends, strict=True):
        columns = [name.strip(' \t\r\n"`[]') for name in insert["columns"].split(",")]
        secret = {place for place, name in enumerate(columns) if names.secret(name)}
        for values in _VALUES.finditer(text, insert.end(), end) if secret else ():
            for place, value in enumerate(_CELL.finditer(text, values.start() + 1, values.end() - 1)):
                if place % len(columns) in secret and value[0].strip() and not refers(text, value.start()):
                    quoted = value[0].startswith("'")
                    yield value.start() + quoted, value.end() - (quoted and value[0].endswith("'"))


#: Members that hold what is bound to the placeholders of a statement beside them.
BOUND = ("params", "parameters", "args", "arguments", "bindings", "binds", "bind")
#: ``reset_token = $1``, ``password=?``
_BOUND = re.compile(
    r"(?<![\w.])(?P<name>[\w.]{2,64}+)[\"`\]]?\s{0,4}(?:=|<>|!=)\s{0,4}(?:\w{1,16}\()?(?:\$(?P<place>[0-9]{1,3})|\?|%s)"
)
_MARKS = re.compile(r"\?|%s")
_INTO = re.compile(r"\((?P<columns>[\w\s,\"`]{1,2000})\)\s{0,4}VALUES\s{0,4}\(\s{0,4}(?:\$1\b|\?|%s)", re.IGNORECASE)
#: ``… [update u set pwd = ?], params [x, 7]``
_GIVEN = re.compile(
    r"\b(?i:param(?:eter)?s|bind(?:ing)?s|args|values)\b[\"']?[:= \t]{1,4}[\[(](?P<values>[^\[\]()\r\n]{1,400})"
)
_ONE = re.compile(r"([^\s,\"'][^,\"']*+)[\"']?,?")
_STATEMENT, _STATEMENTS = 600, 64  # characters before them, and of one text; a log has few


def bound(statement: str, names: SecretNames) -> dict[int, str]:
    """Of a statement with placeholders, the places of secrets and their names."""
    found: dict[int, str] = {}
    if into := _INTO.search(statement):
        for place, name in enumerate(into["columns"].split(",")):
            if names.secret(plain := name.strip(' \t\r\n"`')):
                found[place] = plain
        return found
    marks, at = 0, 0
    for one in _BOUND.finditer(statement):
        marks += len(_MARKS.findall(statement, at, one.end()))
        at = one.end()
        if names.secret(one["name"]):
            found[int(one["place"]) - 1 if one["place"] else marks - 1] = one["name"]
    return found


_ARGUMENT = r"\s{0,8}[\"'](?P<value>[^\"'\r\n]{1,400})[\"']"
_CALLED = (
    re.compile(rf"\(\s{{0,8}}[\"'](?P<name>[\w.-]{{2,64}})[\"']\s{{0,8}},{_ARGUMENT}"),
    re.compile(rf"(?<!\w)(?P<name>[A-Za-z_]\w{{1,63}})\({_ARGUMENT}"),
    re.compile(  # hset("user:1", "password", "…")
        r"\(\s{0,8}[\"'][^\"'\r\n]{1,64}[\"']\s{0,8},\s{0,8}[\"'](?P<name>[\w.:-]{2,64})[\"']\s{0,8},"
        rf"{_ARGUMENT}\s{{0,8}}[,)]"
    ),
    re.compile(r"\{(?P<name>[a-z_]\w{1,63}),\s{0,4}(?:<<)?\"(?P<value>[^\"\r\n]{1,400})\""),  # Erlang
    re.compile(  # of Dockerfiles, csh, Windows, nginx, Apache
        r"^[ \t]{0,16}(?:ENV|ARG|setenv|setx|SetEnv|\w{2,16}_param|(?:proxy_set|add)_header|(?:Request)?Header set)"
        r"[ \t]{1,8}(?P<name>[A-Za-z_][\w.-]{1,100}+)[ \t]{1,8}[\"']?(?P<value>[^\s\"';]{1,400}+)",
        re.MULTILINE,
    ),
)
_NAMING = r"[\"']?(?:name|key|k|field|variable)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?P<name>[\w.-]{2,64})"
_NAMED_VALUE = r"[\"']?(?:value|val|v|content|default)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?P<value>[^\r\n\"']{1,400})"
_NEXT_LINE = r"[\"']?[ \t,]*+\r?\n[ \t]*+"
_ABOVE = re.compile(rf"^[ \t]*+(?:- )?[ \t]*+{_NAMING}{_NEXT_LINE}{_NAMED_VALUE}", re.MULTILINE | re.IGNORECASE)
_BELOW = re.compile(rf"^[ \t]*+(?:- )?[ \t]*+{_NAMED_VALUE}{_NEXT_LINE}{_NAMING}", re.MULTILINE | re.IGNORECASE)
_BESIDE = re.compile(
    rf"{_NAMING}[\"']?[ \t]{{0,4}},[ \t]{{0,8}}[\"']?(?:value|val|v|content|default)[\"']?[ \t]{{0,4}}[:=]"
    r"[ \t]{0,4}[\"']?(?P<value>[^\r\n\"',}\]]{1,400})",
    re.IGNORECASE,
)
_ARGUED = re.compile(  # ["redis-server", "--requirepass", "…"]
    r"[\"'](?:--?|/)(?P<name>[A-Za-z][\w.-]{2,63})[\"']\s{0,8},\s{0,8}[\"'](?P<value>[^\"'\r\n-][^\"'\r\n]{0,400})[\"']"
)
_LABELLED = re.compile(  # variable "db_pw" { default = "…" }
    r"[\"'](?P<name>[\w.-]{2,64})[\"']\s{0,4}\{[^{}]{0,400}?\b(?:default|value|secret_string|content|result)"
    r"[ \t]{0,16}[:=][ \t]{0,4}[\"'](?P<value>[^\"'\r\n]{1,400})"
)
_CELLS = re.compile(
    r"^[ \t]{0,8}\|[ \t]{0,8}(?P<name>[\w. *`-]{2,40}?)[ \t]{0,8}\|[ \t]{0,8}(?P<value>[^|\r\n]{1,400})", re.MULTILINE
)
_BINARY = re.compile(r"(?<![\w.-])(?P<name>[A-Za-z_][\w.-]{2,63}+)[\0-\x1f\x7f]{1,8}(?P<value>[\x20-\x7e]{4,400}+)")
_INSERT = re.compile(
    r"\bINTO\s{1,4}[\w.\"`\[\]]{1,128}\s{0,4}\((?P<columns>[^()]{1,2000})\)\s{0,8}VALUES\b", re.IGNORECASE
)
_VALUES = re.compile(r"\((?:'(?:[^']|'')*+'?|[^'()])*+\)")
_CELL = re.compile(r"'(?:[^']|'')*+'?|[^,'\s][^,']*+")
