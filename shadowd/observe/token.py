"""The token that opens what traffic said: a file that the socket's group may read, and nobody else.

Whoever may ask over the control socket may read it, so that both ways show the same to the same people.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat
from pathlib import Path

from shadowd.errors import ShadowdError
from shadowd.store.ownfiles import check_regular, open_regular

_SHORTEST = 16  # characters: 64 bits if they are hex digits
_LIMIT = 4096
_MODE = 0o640


class Token:
    """The file at ``path``; one that was replaced counts from the next request on. ``named``: by the operator."""

    __slots__ = ("_known", "_read", "named", "path")

    def __init__(self, path: Path, named: bool = True) -> None:
        self.path = path
        self.named = named
        self._known = b""
        self._read: tuple[int, ...] = ()

    def prepare(self, group: int) -> None:
        """Make the file with a new token if it is not there. Raises ShadowdError for one that is not fit."""
        try:
            if not check_regular(self._place()):
                self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(self.path, flags, 0o600), "w") as file:
                    file.write(f"{secrets.token_hex(32)}\n")
                    if os.fstat(file.fileno()).st_gid != group:
                        os.fchown(file.fileno(), -1, group)
                    os.fchmod(file.fileno(), _MODE)
            self._load()
        except OSError as error:
            raise ShadowdError(
                f"the token file {self.path} cannot be used: {error.strerror}", "give another --http-token-file"
            ) from None

    def given(self) -> str:
        """The token itself, for asking another door. Raises ShadowdError."""
        try:
            self._load()
        except OSError as error:
            raise ShadowdError(f"the token file {self.path} cannot be read: {error.strerror}",
                               "give another one") from None  # fmt: skip
        return self._known.decode("ascii")

    def _place(self) -> Path:
        """A file that the operator named may lie behind symlinks: in a mounted Secret every file does, and they change
        with it. One of our own may not."""
        return self.path.resolve() if self.named else self.path

    def _load(self) -> None:
        with os.fdopen(open_regular(self._place()), "rb") as file:
            found = os.fstat(file.fileno())
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid)
            if identity == self._read:
                return
            self._known, self._read = b"", ()
            if found.st_mode & 0o027:
                raise ShadowdError(
                    f"others may read or write the token file {self.path} (mode {stat.S_IMODE(found.st_mode):04o})",
                    f"chmod 640 {self.path}",
                )
            if found.st_uid not in (0, os.geteuid()):
                raise ShadowdError(f"the token file {self.path} belongs to the user {found.st_uid}", "chown it to root")
            token = file.read(_LIMIT).strip()
        if not _SHORTEST <= len(token) < _LIMIT or not token.isascii():
            raise ShadowdError(
                f"the token file {self.path} holds no token",
                f"write {_SHORTEST} characters or more, such as `openssl rand -hex 32`, or remove it",
            )
        self._known, self._read = token, identity

    def admits(self, authorization: str) -> bool:
        """Whether a header's value has the token: as ``Bearer TOKEN``, or as the password of ``Basic`` (browsers)."""
        scheme, _, given = authorization.strip().partition(" ")
        said = given.strip().encode("utf-8", "replace")
        if scheme.lower() == "basic":
            try:
                said = base64.b64decode(said, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        try:
            self._load()
        except (OSError, ShadowdError):
            return False  # it was taken away: nobody is let in
        return bool(self._known) and hmac.compare_digest(said, self._known)

    def sign(self, words: bytes) -> str:
        """A proof, in hex, that who has the token has seen the words; "" while there is no token."""
        try:
            self._load()
        except (OSError, ShadowdError):
            return ""
        return hmac.digest(self._known, words, "sha256").hex() if self._known else ""
