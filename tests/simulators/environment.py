"""Environments for child processes in which only the simulators answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SCRUBBED = ("UV_", "PIP_", "SSL_CERT_", "SIM_NVML_", "TINYBUILD_", "PYTHON", "VIRTUAL_ENV")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle"})


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """Return an environment without the settings of whoever runs the tests.

    Args:
        home: A folder that stands for the home, and holds uv's cache.
        extra: Variables to set on top.

    Returns:
        The whole environment of a child process.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SCRUBBED) and name.lower() not in _PROXIES
    }
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_PROXY": "127.0.0.1,localhost",
        **extra,
    }


def uv_binary() -> Path:
    """Return the uv that is installed beside the tests."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return beside
    # Imported late: only where uv was installed into another scheme.
    from uv import find_uv_bin

    return Path(find_uv_bin())
