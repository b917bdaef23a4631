"""What gpuenv resolves itself, where a project has no lock of its own tool."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from provisioner.core.urls import without_secrets
from provisioner.errors import LockError

if TYPE_CHECKING:
    from provisioner.core.profile import Index


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """Everything that decides a lock that gpuenv makes.

    `requirements` are a profile's, or None where `manifest`, the text of the project's
    `pyproject.toml`, says what is needed.
    """

    requirements: tuple[str, ...] | None
    manifest: str | None
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    indexes: tuple[Index, ...]
    python: str

    @property
    def fingerprint(self) -> str:
        """Changes with anything that decides the lock.

        Not with the Python, since the lock is universal and says itself from which one on it
        holds; not with how long pages may be reused, nor with a password.
        """
        facts = asdict(self)
        del facts["python"]
        for index in facts["indexes"]:
            del index["cache_control"], index["origin"]
            index["url"] = without_secrets(index["url"])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def lock_name(profile: str) -> str:
    """The file name of a profile's lock (PEP 751)."""
    return f"pylock.{profile}.toml"


def signed(lock: str, resolution: Resolution) -> str:
    """A lock that tells what it was made from."""
    return f'{lock.rstrip()}\n\n[tool.gpuenv]\nmade-from = "{resolution.fingerprint}"\n'


def made_from(lock: str, origin: str) -> str | None:
    """What a lock was made from; None where another tool wrote it.

    Raises:
        LockError: it is no TOML.
    """
    import tomllib

    try:
        data: Any = tomllib.loads(lock)
    except tomllib.TOMLDecodeError as error:
        message = f"lock `{origin}` is malformed"
        raise LockError(message, causes=(str(error),), code="lock-malformed") from error
    for key in ("tool", "gpuenv", "made-from"):
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) else None
