"""From a handshake's secrets to keys, and records opened with them: TLS 1.3 (RFC 8446 §7) and the AEAD suites of
TLS 1.2 (RFC 5246 §6.3, §8.1; RFC 5288, RFC 6655, RFC 7905).

Suites that encrypt without authenticating what they open (CBC) are not read: a wrong key would give bytes.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
TLS12, TLS13 = 0x0303, 0x0304
#: RFC 5246 §8.1, RFC 8446 §7.1: the longest secrets are 48 bytes (the 1.2 master secret, SHA-384).
MAX_CONTENT = 1 << 14  # RFC 8446 §5.1
MAX_SECRET = 48


class Cipher(Protocol):
    """An AEAD of ``cryptography``."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class RecordError(Exception):
    """A record that its key does not open, or that is none. ``reason``: the ledger's."""

    reason = "tls_undecryptable"


class SuiteError(RecordError):
    """A version or cipher suite that is not read."""

    reason = "tls_suite"


class MissingKeyError(RecordError):
    """Nobody told the key, and nobody will."""

    reason = "tls_no_key"


class RefusedError(RecordError):
    """The server did not take the client: nothing of what it sent was served."""

    reason = "tls_refused"


class UnseenError(RecordError):
    """The handshake was not seen whole, so nobody can know its keys."""

    reason = "tls_midstream"


class Suite(NamedTuple):
    """``explicit``: bytes of the nonce that stand in each record of TLS 1.2."""

    cipher: str  # gcm, ccm, chacha
    key_length: int
    hash: str
    tag: int = 16
    explicit: int = 8


_AES128, _AES256 = Suite("gcm", 16, "sha256"), Suite("gcm", 32, "sha384")
_CHACHA = Suite("chacha", 32, "sha256", explicit=0)
_CCM, _CCM8 = Suite("ccm", 16, "sha256"), Suite("ccm", 16, "sha256", tag=8)
_CCM_256, _CCM8_256 = Suite("ccm", 32, "sha256"), Suite("ccm", 32, "sha256", tag=8)

#: By version, then by the number of the IANA registry of TLS cipher suites.
SUITES: dict[int, dict[int, Suite]] = {
    TLS13: {0x1301: _AES128, 0x1302: _AES256, 0x1303: _CHACHA, 0x1304: _CCM, 0x1305: _CCM8},
    TLS12: {
        **dict.fromkeys((0x9C, 0x9E, 0xA8, 0xAA, 0xC02B, 0xC02F, 0xD001), _AES128),
        **dict.fromkeys((0x9D, 0x9F, 0xA9, 0xAB, 0xC02C, 0xC030, 0xD002), _AES256),
        **dict.fromkeys((0xCCA8, 0xCCA9, 0xCCAA, 0xCCAB, 0xCCAC, 0xCCAD), _CHACHA),
        **dict.fromkeys((0xC09C, 0xC09E, 0xC0AC), _CCM),
        **dict.fromkeys((0xC09D, 0xC09F, 0xC0AD), _CCM_256),
        **dict.fromkeys((0xC0A0, 0xC0A2, 0xC0AE), _CCM8),
        **dict.fromkeys((0xC0A1, 0xC0A3, 0xC0AF), _CCM8_256),
    },
}


def _aead(suite: Suite, key: bytes) -> Cipher:
    if suite.cipher == "gcm":
        return AESGCM(key)
    return ChaCha20Poly1305(key) if suite.cipher == "chacha" else AESCCM(key, suite.tag)


def expand_label(secret: bytes, label: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1, RFC 5869 §2.3)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    out, block, number = b"", b"", 0
    while len(out) < length:
        number += 1
        block = hmac.digest(secret, block + info + bytes([number]), digest)
        out += block
    return out[:length]


def prf(secret: bytes, seed: bytes, length: int, digest: str) -> bytes:
    """P_hash of TLS 1.2 (RFC 5246 §5); ``seed`` begins with the label."""
    out, turn = b"", seed
    while len(out) < length:
        turn = hmac.digest(secret, turn, digest)
        out += hmac.digest(secret, turn + seed, digest)
    return out[:length]


class Opener:
    """Opens the records of one direction. ``sequence``: number of the next record; ``overhead``: bytes that a record
    has beside its content, heads included and padding not. Nothing of it is shown by ``repr``."""

    __slots__ = ("_cipher", "_explicit", "_high", "_low", "_modern", "_secret", "_tag", "overhead", "sequence", "suite")

    def __init__(self, suite: Suite, key: bytes, iv: bytes, secret: bytes = b"") -> None:
        """``secret``: the traffic secret of TLS 1.3, from which the next keys come; without it the keys are of 1.2."""
        self.suite = suite
        self.sequence = 0
        self._cipher = _aead(suite, key)
        self._secret = secret
        self._modern = bool(secret)
        self._explicit = 0 if secret else suite.explicit
        self._tag = suite.tag
        # the nonce is the IV with the record's number added to its last 64 bits by exclusive or
        self._high, self._low = iv[:4], int.from_bytes(iv[4:], "big")
        self.overhead = 5 + suite.tag + (1 if secret else self._explicit)

    def open_untrusted(self, record: bytes, number: int = -1) -> tuple[int, bytes]:
        """A whole record, head included: its content type and content. ``number``: another than the next, whose number
        follows then. Raises RecordError, and ``sequence`` stays."""
        if number < 0:
            number = self.sequence
        head, explicit = record[:5], self._explicit
        try:
            if self._modern:
                nonce = self._high + (self._low ^ number).to_bytes(8, "big")
                plain = self._cipher.decrypt(nonce, record[5:], head)
            else:
                length = len(record) - 5 - explicit - self._tag
                if length < 0:
                    raise RecordError("a record that is too short")
                if explicit:
                    nonce = self._high + record[5 : 5 + explicit]
                else:
                    nonce = self._high + (self._low ^ number).to_bytes(8, "big")
                said = number.to_bytes(8, "big") + head[:3] + length.to_bytes(2, "big")
                plain = self._cipher.decrypt(nonce, record[5 + explicit :], said)
        except (InvalidTag, ValueError, OverflowError):
            raise RecordError("a record that its key does not open") from None
        if not self._modern:
            self.sequence = number + 1
            return record[0], plain
        end = len(plain) - 1
        if end >= 0 and not plain[end]:  # padding (RFC 8446 §5.4)
            end = len(plain.rstrip(b"\0")) - 1
        if end < 0:
            raise RecordError("a record without a type")
        if end > MAX_CONTENT:
            raise RecordError("a record that is too long")
        self.sequence = number + 1
        return plain[end], plain[:end]

    def updated(self) -> Opener:
        """The keys after a KeyUpdate (RFC 8446 §7.2)."""
        secret = expand_label(self._secret, b"traffic upd", len(self._secret), self.suite.hash)
        return opener13(self.suite, secret)


def opener13(suite: Suite, secret: bytes) -> Opener:
    """From a traffic secret (RFC 8446 §7.3)."""
    key = expand_label(secret, b"key", suite.key_length, suite.hash)
    return Opener(suite, key, expand_label(secret, b"iv", 12, suite.hash), secret)


def openers12(suite: Suite, master: bytes, client_random: bytes, server_random: bytes) -> tuple[Opener, Opener]:
    """The client's direction and the server's, from the key block (RFC 5246 §6.3)."""
    fixed, length = (4 if suite.explicit else 12), suite.key_length
    seed = b"key expansion" + server_random + client_random
    block = prf(master, seed, 2 * (length + fixed), suite.hash)
    ivs = block[2 * length :]
    return (
        Opener(suite, block[:length], ivs[:fixed]),
        Opener(suite, block[length : 2 * length], ivs[fixed:]),
    )
