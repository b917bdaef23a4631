"""Projects, and the packages on the simulated index that they need."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from provisioner.core.ranges import SMALL_BYTES
from tests.simulators.wheels import make_sdist, make_tinybuild, make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
    """How often each file was served as a whole; a resolver looks at heads and other ranges."""
    from_the_start = f"bytes=0-{SMALL_BYTES - 1}"
    return Counter(
        request.filename
        for request in index.requests
        if request.filename.endswith((".whl", ".tar.gz"))
        and request.method == "GET"
        and (
            request.status == HTTPStatus.OK
            or (request.status, request.headers.get("range"))
            == (HTTPStatus.PARTIAL_CONTENT, from_the_start)
        )
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


X86 = "machine=x86_64,glibc=2.35,python=3.11"
"""What decides on files beside the GPUs, so that a test means the same on every machine."""

H100 = f"driver=580.95.05,cuda=13.0,gpus=9.0,{X86}"
H100_OLD_DRIVER = f"driver=570.124.06,cuda=12.8,gpus=9.0,{X86}"
A100 = f"driver=580.95.05,cuda=13.0,gpus=8.0,{X86}"
V100 = f"driver=580.95.05,cuda=13.0,gpus=7.0,{X86}"
V100_AND_H100 = f"driver=580.95.05,cuda=13.0,gpus=7.0+9.0,{X86}"
RTX_5090 = f"driver=575.57.08,cuda=12.9,gpus=12.0,{X86}"

TORCH = "2.11.0"
TORCH_LINES = ("cpu", "cu126", "cu128", "cu130")
_TORCH_NEEDS = {
    "cpu": (),
    "cu126": ("nvidia-cublas-cu12==12.6.4.1", "nvidia-cudnn-cu12==9.10.2.21"),
    "cu128": ("nvidia-cublas-cu12==12.8.4.1",),
    "cu130": ("nvidia-cublas==13.1.0.3",),
}
_LIBRARIES = (
    ("tensorrt-cu12", "10.13.0.35"),
    ("tensorrt-cu12", "10.4.0"),
    ("tensorrt-cu13", "10.13.3.9"),
    ("nvidia-cublas", "13.1.0.3"),
    ("nvidia-cublas-cu12", "12.6.4.1"),
    ("nvidia-cublas-cu12", "12.8.4.1"),
    ("nvidia-cudnn-cu12", "9.10.2.21"),
)


def torch_wheel(line: str) -> str:
    """The file name of PyTorch for a CUDA line, or the CPU."""
    return f"torch-{TORCH}+{line}-py3-none-any.whl"


def publish_libraries(index: IndexSimulator, folder: Path) -> None:
    """Publish stand-ins for NVIDIA's packages: their names and versions, with nothing in them."""
    index.publish(make_wheel(folder, "common", "1.0"))
    for name, version in _LIBRARIES:
        index.publish(make_wheel(folder, name, version))


def publish_torch(indexes: Mapping[str, IndexSimulator], folder: Path) -> None:
    """Publish stand-ins for PyTorch, each line on an index of its own, as PyTorch does."""
    for line, index in indexes.items():
        index.publish(
            make_wheel(folder / line, "torch", f"{TORCH}+{line}", requires=_TORCH_NEEDS[line])
        )


@dataclass(frozen=True, kw_only=True)
class TorchProject:
    """A project with PyTorch in the way of uv's guide: an explicit index an extra, or group."""

    table: str = "project.optional-dependencies"
    name: str = "app"

    def write(self, folder: Path, index_url: str, torch: Mapping[str, str]) -> Path:
        """Write it into a new folder; `torch` are the indexes of PyTorch by line."""
        folder.mkdir(parents=True)
        kind = "extra" if self.table.startswith("project") else "group"
        names = ", ".join(f'{{ {kind} = "{line}" }}' for line in torch)
        sources = ", ".join(f'{{ index = "pytorch-{line}", {kind} = "{line}" }}' for line in torch)
        text = f"""\
[project]
name = "{self.name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["common"]

[{self.table}]
"""
        text += "".join(f'{line} = ["torch=={TORCH}"]\n' for line in torch)
        text += f"""
[tool.uv]
conflicts = [[{names}]]

[tool.uv.sources]
torch = [{sources}]

[[tool.uv.index]]
name = "simulator"
url = "{index_url}"
default = true
"""
        for line, url in torch.items():
            text += f"""
[[tool.uv.index]]
name = "pytorch-{line}"
url = "{url}"
explicit = true
"""
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return folder


def libraries_project(**extras: Sequence[str]) -> Project:
    """A project whose extras need some packages of NVIDIA's, each a CUDA line."""
    conflicts = ", ".join(f'{{ extra = "{name}" }}' for name in extras)
    lines = "".join(f"{name} = {json.dumps(list(needs))}\n" for name, needs in extras.items())
    more = f"\n[project.optional-dependencies]\n{lines}"
    if len(extras) > 1:
        more += f"\n[tool.uv]\nconflicts = [[{conflicts}]]\n"
    return Project(lines=(), table="dependency-groups", more=more)


def profile_text(name: str, cuda: str, url: str) -> str:
    """A profile that takes TensorRT from an index of the tests, as the shipped one from NVIDIA."""
    return f"""\
schema: 1
name: {name}
cuda: "{cuda}"
extras: [{name}]
requirements: [tensorrt-{name}]
indexes:
  - name: nvidia
    url: {url}
    packages: ["tensorrt*"]
    cache-control: {{api: "max-age=600", files: "max-age=365000000, immutable"}}
"""


def target_data(
    *gpus: str, driver: str = "580.95.05", cuda: str = "13.0", **more: object
) -> dict[str, object]:
    """A saved target with GPUs of some compute capabilities; `more` replaces whole keys."""
    return {
        "platform": {
            "system": "linux",
            "machine": "x86_64",
            "class": "linux",
            "libc": ["glibc", "2.35"],
        },
        "driver": {"version": driver, "cuda": cuda},
        "gpus": [
            {
                "index": index,
                "uuid": f"GPU-{index}0000000-0000-0000-0000-000000000000",
                "name": f"Card {capability}",
                "compute_capability": capability,
                "memory_bytes": None,
            }
            for index, capability in enumerate(gpus)
        ],
        "python": "3.11",
        **more,
    }
