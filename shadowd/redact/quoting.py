"""Text from traffic, made harmless for a page (sans-IO): HTML, SVG and the Markdown of pull request comments.

Paths, header values, bodies and error messages are written by strangers. Characters that a reader cannot see or that
reorder the line (control, format and bidirectional characters, lone surrogates) are shown by their code point, long
text is cut, and what means something to the format is escaped. Escaping is by whitelist where the format is large
(Markdown) and by the five characters that matter where it is small (HTML).
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # general categories, Unicode chapter 4.5
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_LAST_BREAK = re.compile(r".*[\s,;/&?]", re.DOTALL)
_PLAIN = re.compile(r"[\x20-\x7e]*")

#: ASCII that GitHub's and GitLab's Markdown never takes as markup inside a line. All else is written by number.
_MARKDOWN_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,;()/-+%=?{}'\"")
_MENTIONS = frozenset("@#!~$&%")  # @person, #issue, !merge request, ~label, $snippet, &epic, %milestone
_NO_BREAK = "&#8203;"  # a zero-width space: a mention is looked for after entities are decoded


def visible(text: object, limit: int = 300, *, lines: bool = False) -> str:
    """``text`` with unseen characters as ``\\u{202e}`` and at most ``limit`` characters of it, then ``…``, which
    stands at the end of a word.

    With ``lines`` newlines and tabs stay; else they are shown as ``\\n`` and ``\\t``.
    """
    value = text if isinstance(text, str) else str(text)
    cut = len(value) > limit
    value = value[:limit]
    if not _PLAIN.fullmatch(value):
        value = "".join(_shown(character, lines) for character in value)
        value, cut = value[:limit], cut or len(value) > limit
    return f"{_at_a_word(value)}…" if cut else value


def _at_a_word(text: str) -> str:
    """Without the beginning of a word at its end, if the word is short: a blob of base64 is cut where it is."""
    words = _LAST_BREAK.match(text, 0)
    if words is None or words.end() < len(text) * 3 // 4:
        return text
    return words[0].rstrip()


def _shown(character: str, lines: bool) -> str:
    if character in "\n\t":
        return character if lines else repr(character)[1:-1]
    if unicodedata.category(character) in _UNSEEN:
        return f"\\u{{{ord(character):x}}}"
    return character


def html(text: object, limit: int = 300, *, lines: bool = False) -> str:
    """``text`` for an HTML or SVG text node or a quoted attribute."""
    return visible(text, limit, lines=lines).translate(_HTML)


def markdown(text: object, limit: int = 300) -> str:
    """``text`` as words inside a line of Markdown, a table cell too; it mentions nobody and links nowhere."""
    shown = visible(text, limit)
    links = "www" in shown.lower() or ":/" in shown
    result = []
    for index, character in enumerate(shown):
        result.append(_entity(character, links))
        if character in _MENTIONS and index + 1 < len(shown) and shown[index + 1].isalnum():
            result.append(_NO_BREAK)
    return "".join(result)


def markdown_code(text: object, limit: int = 120) -> str:
    """``text`` as code inside a line of Markdown. ``<code>``, because a backtick span cannot hold every pipe."""
    shown = visible(text, limit)
    links = "www" in shown.lower() or ":/" in shown
    return f"<code>{''.join(_entity(character, links) for character in shown)}</code>" if shown else ""


def markdown_block(text: object, limit: int = 1500) -> str:
    """``text`` of several lines as preformatted text on one line of Markdown: no line of it stands at a beginning."""
    shown = visible(text, limit, lines=True)
    return f"<pre>{''.join(_entity(character, True) for character in shown)}</pre>"


def _entity(character: str, links: bool) -> str:
    if character in _MARKDOWN_SAFE or (character in ".:" and not links) or (ord(character) > 0x7F):
        return character
    return f"&#{ord(character)};"
