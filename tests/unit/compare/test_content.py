"""Bodies on the wire: framing and codings undone, bounded, whatever is sent."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.content import MAX_MEMBERS, content_untrusted

TEXT = b"".join(b"line %d of a text that compresses well\n" % n for n in range(200))
LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def head(*fields: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *fields, "", "")).encode()


def chunked(data: bytes, size: int = 100, trailer: bytes = b"") -> bytes:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("coding", sorted(ENCODERS))
def test_each_coding_is_undone(coding: str) -> None:
    content = content_untrusted(head(f"Content-Encoding: {coding}"), ENCODERS[coding](TEXT), LIMIT)
    assert (content.data, content.problem) == (TEXT, "")


def test_raw_deflate_is_accepted_as_browsers_do() -> None:
    content = content_untrusted(head("Content-Encoding: deflate"), raw_deflate(TEXT), LIMIT)
    assert (content.data, content.problem) == (TEXT, "")


def test_codings_are_undone_last_applied_first_over_several_lines() -> None:
    body = brotli.compress(gzip.compress(TEXT))
    assert content_untrusted(head("Content-Encoding: GZIP", "content-encoding: identity, br"), body, LIMIT).data == TEXT
    assert content_untrusted(head("Content-Encoding: br, gzip"), body, LIMIT).problem == "malformed gzip"


def test_chunks_and_trailers_then_the_coding() -> None:
    body = chunked(gzip.compress(TEXT), 7, b"Checksum: 1\r\n")
    content = content_untrusted(head("Transfer-Encoding: chunked", "Content-Encoding: gzip"), body, LIMIT)
    assert (content.data, content.problem) == (TEXT, "")


def test_gzip_as_a_transfer_coding() -> None:
    content = content_untrusted(head("Transfer-Encoding: gzip, chunked"), chunked(gzip.compress(TEXT)), LIMIT)
    assert (content.data, content.problem) == (TEXT, "")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_and_frames_in_a_row(coding: str) -> None:
    body = ENCODERS[coding](b"one ") + ENCODERS[coding](b"two")
    content = content_untrusted(head(f"Content-Encoding: {coding}"), body, LIMIT)
    assert (content.data, content.problem) == (b"one two", "")


def test_gzip_padding_is_ignored_and_junk_is_not() -> None:
    body = gzip.compress(TEXT)
    assert content_untrusted(head("Content-Encoding: gzip"), body + b"\0" * 9, LIMIT).problem == ""
    assert content_untrusted(head("Content-Encoding: gzip"), body + b"junk", LIMIT).problem == "malformed gzip"


@pytest.mark.parametrize("coding", sorted(ENCODERS))
def test_a_cut_body_gives_what_there_is_and_says_so(coding: str) -> None:
    noise = bytes((n * n * 31 + n // 7) & 255 for n in range(5000))
    whole = ENCODERS[coding](noise)
    content = content_untrusted(head(f"Content-Encoding: {coding}"), whole[: len(whole) - 3], LIMIT)
    assert content.problem == f"truncated {coding.removeprefix('x-')}"
    assert noise.startswith(content.data)


@pytest.mark.parametrize("coding", sorted(ENCODERS))
def test_bytes_that_are_not_the_coding(coding: str) -> None:
    content = content_untrusted(head(f"Content-Encoding: {coding}"), b'{"plain": "json"}', LIMIT)
    assert content.problem == f"malformed {coding.removeprefix('x-')}"


@pytest.mark.parametrize("coding", sorted(ENCODERS))
def test_a_bomb_costs_its_limit_and_no_more(coding: str) -> None:
    zeros = bytes(32 << 20)
    bomb = brotli.compress(zeros, quality=1) if coding == "br" else ENCODERS[coding](zeros)
    tracemalloc.start()
    content = content_untrusted(head(f"Content-Encoding: {coding}"), bomb, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content.problem == "too large"
    assert content.data == bytes(100_000)
    assert peak < 2 << 20


def test_a_bomb_of_two_stages() -> None:
    bomb = gzip.compress(gzip.compress(bytes(32 << 20)))
    assert content_untrusted(head("Content-Encoding: gzip, gzip"), bomb, 100_000).problem == "too large"


def test_many_empty_members_are_refused() -> None:
    body = gzip.compress(b"") * (MAX_MEMBERS + 1)
    assert content_untrusted(head("Content-Encoding: gzip"), body, LIMIT).problem == "malformed gzip"
    body = gzip.compress(b"") * MAX_MEMBERS
    assert content_untrusted(head("Content-Encoding: gzip"), body, LIMIT).problem == ""


def test_a_plain_body_is_bounded_as_well() -> None:
    content = content_untrusted(head(), b"x" * 101, 100)
    assert (content.data, content.problem) == (b"x" * 100, "too large")


@pytest.mark.parametrize(
    ("body", "data", "problem"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc", ""),
        (b"3\r\nabc\r\n", b"abc", "truncated chunking"),
        (b"5\r\nabc", b"abc", "truncated chunking"),
        (b"zz\r\nabc\r\n0\r\n\r\n", b"", "malformed chunking"),
        (b"3\r\nabcd\r\n0\r\n\r\n", b"abc", "malformed chunking"),
        (b"", b"", "truncated chunking"),
    ],
)
def test_chunk_framing(body: bytes, data: bytes, problem: str) -> None:
    content = content_untrusted(head("Transfer-Encoding: chunked"), body, LIMIT)
    assert (content.data, content.problem) == (data, problem)


def test_unknown_and_too_many_codings() -> None:
    assert content_untrusted(head("Content-Encoding: snappy"), b"abc", LIMIT).problem == "unknown coding snappy"
    assert content_untrusted(head("Content-Encoding: snappy"), b"abc", LIMIT).data == b"abc"
    many = ", ".join(["gzip"] * 6)
    assert content_untrusted(head(f"Content-Encoding: {many}"), b"abc", LIMIT).problem == "too many codings"


def test_an_empty_body_is_empty_in_every_coding() -> None:
    content = content_untrusted(head("Content-Encoding: gzip"), b"", LIMIT)
    assert (content.data, content.problem) == (b"", "")


@pytest.mark.parametrize(
    ("field", "media_type", "charset"),
    [
        ("Content-Type: Application/JSON", "application/json", ""),
        ('CONTENT-TYPE : text/html ; Charset="ISO-8859-1"', "text/html", "iso-8859-1"),
        ("Content-Type: text/plain;\r\n charset=utf-8", "text/plain", "utf-8"),
        ("X-Content-Type: text/plain", "", ""),
    ],
)
def test_media_type_and_charset(field: str, media_type: str, charset: str) -> None:
    content = content_untrusted(head("Server: x", field, "Via: y"), b"", LIMIT)
    assert (content.media_type, content.charset) == (media_type, charset)


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-16", "shift_jis", "windows-1252"])
def test_text_is_decoded_by_its_charset(charset: str) -> None:
    content = content_untrusted(head(f"Content-Type: text/plain; charset={charset}"), "Yen".encode(charset), LIMIT)
    assert content.text() == "Yen"


@pytest.mark.parametrize("charset", ["base64", "punycode", "idna", "unicode_escape", "zip", "nonsense", "\0", "x" * 99])
def test_codecs_that_are_no_charsets_are_not_used(charset: str) -> None:
    content = content_untrusted(head(f"Content-Type: text/plain; charset={charset}"), b"\\x41\xff", LIMIT)
    assert content.text() == "\\x41\ufffd"


@given(
    st.binary(max_size=300),
    st.lists(st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "x"]), max_size=3),
    st.booleans(),
)
def test_any_bytes_are_survived(body: bytes, codings: list[str], framed: bool) -> None:
    fields = [f"Content-Encoding: {', '.join(codings)}"] if codings else []
    fields += ["Transfer-Encoding: chunked"] if framed else []
    content = content_untrusted(head(*fields), body, 1000)
    assert len(content.data) <= 1000
    if not codings and not framed:
        assert content.data == body


@given(
    st.binary(max_size=500),
    st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3),
    st.integers(1, 60),
    st.booleans(),
)
def test_what_was_encoded_is_decoded(data: bytes, codings: list[str], size: int, framed: bool) -> None:
    body = data
    for coding in codings:
        body = ENCODERS[coding](body)
    fields = [f"Content-Encoding: {', '.join(codings)}"] if codings else []
    if framed:
        body = chunked(body, size)
        fields.append("Transfer-Encoding: chunked")
    content = content_untrusted(head(*fields), body, LIMIT)
    assert (content.data, content.problem) == (data, "")


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_head_is_survived(fields: bytes, body: bytes) -> None:
    content = content_untrusted(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n", body, 1000)
    assert isinstance(content.text(), str)


@pytest.mark.parametrize(("window", "problem"), [(23, ""), (24, "malformed zstd")])
def test_a_zstd_window_is_bounded(window: int, problem: str) -> None:
    """RFC 9659 §3: nobody is made to keep more than 8 MB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(TEXT) + stream.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n\r\n"
    content = content_untrusted(head, body, 1 << 20)
    assert (content.data, content.problem) == (b"" if problem else TEXT, problem)
