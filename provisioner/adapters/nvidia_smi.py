"""`nvidia-smi`, for where NVML itself could not be asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters._child import run
from provisioner.adapters._machine_files import WSL
from provisioner.core.evidence import Said, Smi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.adapters._child import Limit, Ran
    from provisioner.core.host import Platform

NAME: Final = "nvidia-smi"
_FIELDS: Final = ("index", "uuid", "name", "driver_version", "memory.total", "pci.bus_id")
_CAPABILITY: Final = "compute_cap"


def find_smi(variables: Mapping[str, str], root: Path, platform: Platform) -> str | None:
    """The program on PATH, or below another root; WSL's stands beside its libraries."""
    import shutil

    folders = [*([WSL] if platform.kind == "wsl2" else []), "usr/bin"]
    if root == Path("/"):
        named = shutil.which(NAME, path=variables.get("PATH", os.defpath))
        if named:
            return named
        folders = folders[:-1]
    paths = (root / folder / NAME for folder in folders)
    return next((str(path) for path in paths if os.access(path, os.X_OK)), None)


def ask_smi(path: str, variables: Mapping[str, str], limit: Limit) -> Smi:
    """Ask for a row a GPU and, for the CUDA version, for the banner."""

    def ask(*words: str) -> Ran:
        return run([path, *words], variables, limit, lambda _: f"`{NAME}`")

    fields: tuple[str, ...] = (*_FIELDS, _CAPABILITY)
    rows = ask(*_query(fields))
    if rows.code and _CAPABILITY.encode() in rows.output:
        # Not a field that this version knows.
        fields = _FIELDS
        rows = ask(*_query(fields))
    banner = _said(ask()) if rows.code == 0 else None
    return Smi(path=path, fields=fields, rows=_said(rows), banner=banner)


def _query(fields: tuple[str, ...]) -> tuple[str, str]:
    return f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"


def _said(ran: Ran) -> Said:
    code = None if ran.timed_out else (ran.code if ran.code is not None else -1)
    return Said(text=ran.output.decode("utf-8", "replace"), code=code)
