"""A stand-in for the build backend of stub source distributions.

``make_wheel_stub`` ships this file as ``wheel_stub/buildapi.py``, so it imports nothing beyond
the standard library. It does over the network what ``wheel-stub`` 0.5.0 on PyPI does
(``wheel_stub/wheel.py``): the index is that of ``WHEEL_STUB_PIP_INDEX_URL`` or of
``[tool.wheel_stub]``; the project's page and then the wheel are opened with ``urllib``, the
first link of the version is taken, and the hash in its fragment is asserted. Tags are not
looked at, and nothing is tried again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlparse
from urllib.request import urlopen

_BLOCK = 16 * 1024


class _Wheels(HTMLParser):
    """The wheels of a page: URL, name and fragment."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link to a wheel."""
        href = dict(attrs).get("href")
        if tag != "a" or href is None or not urlparse(href).path.endswith(".whl"):
            return
        parsed = urlparse(href)
        url = href if parsed.netloc else urljoin(self.page, parsed.path)
        self.found.append((url, Path(parsed.path).name, parsed.fragment))


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Download the wheel (PEP 517)."""
    del config_settings, metadata_directory
    lines = Path("PKG-INFO").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    name = re.sub(r"[-_.]+", "-", facts["Name"]).lower()
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    index = (
        os.environ.get("WHEEL_STUB_PIP_INDEX_URL") or settings["tool"]["wheel_stub"]["index_url"]
    )
    page = f"{urljoin(index if index.endswith('/') else index + '/', name)}/"
    with urlopen(page) as answer:
        wheels = _Wheels(page)
        wheels.feed(answer.read().decode())
    url, file, fragment = next(
        found for found in wheels.found if found[1].split("-")[1] == facts["Version"]
    )
    log = os.environ.get("TINYBUILD_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as built:
            built.write(f"download_wheel {name} {facts['Version']}\n")
    with urlopen(url) as answer, (Path(wheel_directory) / file).open("wb") as target:
        hashed = hashlib.sha256()
        while block := answer.read(_BLOCK):
            hashed.update(block)
            target.write(block)
    assert not fragment or fragment == f"sha256={hashed.hexdigest()}"
    return file
