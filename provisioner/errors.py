"""Every error that a user can meet.

::

    GpuenvError                 1   anything without a code of its own
    ├── LockError               1   lock malformed, stale or without hashes
    ├── NotPreparedError        1   profile or generation that is not there
    ├── ToolError               1   uv, or a command that it ran, failed
    ├── UsageError              2   wrong words on the command line
    │   ├── ProfileError        2   profile unknown or not valid
    │   └── TargetError         2   target unknown or not valid
    ├── NetworkError            3   an index or a file could not be reached
    ├── IntegrityError          4   bytes are not what they have to be
    ├── SpaceError              5   no room on a file system
    ├── LockHeldError           6   another process holds a lock
    ├── SelectionError          7   nothing fits, or the machine is broken
    └── PolicyError             8   forbidden by policy

The number is the exit code. A message is lower case, ends without a full stop and puts
literals in backticks; `causes` are all of them, with both values of a mismatch.
"""

from __future__ import annotations

from typing import Final


class GpuenvError(Exception):
    """An error with a stable code, its causes and, where there is an act, a hint.

    `data` is what is known all the same, for `--json`.
    """

    exit_code = 1
    code = "failed"

    def __init__(
        self,
        message: str,
        *,
        causes: tuple[str, ...] = (),
        hint: str | None = None,
        code: str | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes
        self.hint = hint
        self.data = data
        if code is not None:
            self.code = code

    @property
    def line(self) -> str:
        """The message and its causes, in one line."""
        return ": ".join(filter(None, (self.message, "; ".join(self.causes))))


class LockError(GpuenvError):
    """A lock is malformed, stale, or names a file without a SHA-256."""

    code = "lock-invalid"


class NotPreparedError(GpuenvError):
    """A profile was never prepared here, or a generation does not exist."""

    code = "not-prepared"


class ToolError(GpuenvError):
    """A program that gpuenv runs failed; the causes are its own words."""

    code = "tool-failed"


class UsageError(GpuenvError):
    """The command line asks for something that does not exist."""

    exit_code = 2
    code = "usage"


class ProfileError(UsageError):
    """A profile is unknown, or its file is not valid."""

    code = "profile-invalid"


class TargetError(UsageError):
    """A target, or a fact that overrides one, is not valid."""

    code = "target-invalid"


class NetworkError(GpuenvError):
    """An index or file could not be reached, or is missing while offline."""

    exit_code = 3
    code = "network"


class IntegrityError(GpuenvError):
    """Bytes, or an environment, are not what they have to be."""

    exit_code = 4
    code = "integrity"


STORE_FULL: Final = (
    "free some space (`gpuenv store gc` may), or choose another folder with `--store`; what has "
    "arrived is kept, and gone on with"
)
"""What to do where there is no room in the store."""


class SpaceError(GpuenvError):
    """A file system has no room left."""

    exit_code = 5
    code = "no-space"


class LockHeldError(GpuenvError):
    """Another process holds a lock that this one needs."""

    exit_code = 6
    code = "lock-held"


class SelectionError(GpuenvError):
    """No profile fits, or the machine is broken so that none can be chosen."""

    exit_code = 7
    code = "no-profile-fits"


class PolicyError(GpuenvError):
    """Something that gpuenv does not do, such as changing an environment that it did not make."""

    exit_code = 8
    code = "forbidden"


def said(error: OSError) -> str:
    """What the operating system said, as a cause."""
    return (error.strerror or str(error)).lower()
