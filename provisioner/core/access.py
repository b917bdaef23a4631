"""Who may ask `gpuenv serve` for something."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.core.urls import is_address

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """By which names the server may be addressed, and the token that is needed, if one is.

    `any_address` is for a server that listens at every address of the machine.
    """

    names: frozenset[str]
    any_address: bool = False
    token: str | None = field(default=None, repr=False)

    def refusal(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request is refused, if it is; `headers` have lower-case names.

        A page of a stranger's site may reach a server on loopback under a name of its own
        (DNS rebinding), so that the name counts before anything else.
        """
        if not self._is_ours(headers.get("host", "")):
            return Refusal(status=421, words="this server is not known by that name")
        if method not in METHODS:
            allowed = {"Allow": ", ".join(METHODS)}
            return Refusal(status=405, words="only GET and HEAD", headers=allowed)
        if self.token is not None and not _is_token(headers.get("authorization", ""), self.token):
            challenge = {"WWW-Authenticate": 'Basic realm="gpuenv", charset="UTF-8"'}
            return Refusal(
                status=401, words="the token is the password, with any user", headers=challenge
            )
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self.names or (self.any_address and is_address(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The answer to whoever may not ask."""

    status: int
    words: str
    headers: Mapping[str, str] = field(default_factory=dict)


def _is_token(header: str, token: str) -> bool:
    scheme, _, given = header.strip().partition(" ")
    found = given.strip().encode()
    if scheme.lower() == "basic":
        try:
            found = base64.b64decode(found, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    # In a time that says nothing of how much of it was right.
    return hmac.compare_digest(found, token.encode())
