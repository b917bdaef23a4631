"""Projects, and the packages on the simulated index that they need."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from tests.simulators.wheels import make_sdist, make_tinybuild, make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.simulators.index import IndexSimulator

TARGET = "driver=580.65.06,cuda=13.0,gpus=9.0"
LINES = ("cu12", "cu13")

WHEELS = {
    "cu12": "lean_cu12-1.0-py3-none-any.whl",
    "cu13": "lean_cu13-1.0-py3-none-any.whl",
    "common": "common-1.0-py3-none-any.whl",
}
SDISTS = {line: f"stub_{line}-1.0.tar.gz" for line in LINES}
BUILD_WHEELS = ("tinybuild-1.0-py3-none-any.whl", "helper-1.0-py3-none-any.whl")
LOCKED = (*WHEELS.values(), *SDISTS.values())
"""The files that a lock of `Project` names."""


def downloads(index: IndexSimulator) -> Counter[str]:
    """How often each file was served as a whole; a resolver looks at heads and ranges."""
    return Counter(
        request.filename
        for request in index.requests
        if request.filename.endswith((".whl", ".tar.gz"))
        and (request.method, request.status) == ("GET", HTTPStatus.OK)
    )


def publish_packages(index: IndexSimulator, folder: Path) -> None:
    """Publish a package of both CUDA lines, one of none, and source distributions of both.

    The source distributions need `tinybuild` to be built, which asks for `helper` only when
    it runs.
    """
    index.publish(make_tinybuild(folder))
    index.publish(make_wheel(folder, "helper", "1.0"))
    index.publish(make_wheel(folder, "common", "1.0"))
    for line in LINES:
        names = {"lean/__init__.py": f'LINE = "{line}"\n'.encode()}
        index.publish(make_wheel(folder, f"lean-{line}", "1.0", files=names, size=300_000))
        index.publish(
            make_sdist(
                folder,
                f"stub-{line}",
                "1.0",
                build_requires=["helper"],
                dynamic_requires=["helper"],
            )
        )


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a `pyproject.toml` says, apart from the index."""

    name: str = "app"
    dependencies: Sequence[str] = ("common",)
    lines: Sequence[str] = LINES
    packages: Sequence[str] = ("lean", "stub")
    table: str = "project.optional-dependencies"
    more: str = ""
    uv: bool = True

    def write(self, folder: Path, index_url: str) -> Path:
        """Write it into a new folder."""
        folder.mkdir(parents=True)
        kind = "extra" if self.table.startswith("project") else "group"
        text = f"""\
[project]
name = "{self.name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = {json.dumps(list(self.dependencies))}

[{self.table}]
"""
        for line in self.lines:
            text += f"{line} = {json.dumps([f'{package}-{line}' for package in self.packages])}\n"
        if self.uv and len(self.lines) > 1:
            names = ", ".join(f'{{ {kind} = "{line}" }}' for line in self.lines)
            text += f"\n[tool.uv]\nconflicts = [[{names}]]\n"
        if self.uv:
            text += f"""
[[tool.uv.index]]
name = "simulator"
url = "{index_url}"
default = true
"""
        (folder / "pyproject.toml").write_text(text + self.more, encoding="utf-8")
        return folder
