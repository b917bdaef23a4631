"""Environments with stand-ins for the CUDA runtime, TensorRT and PyTorch in them."""

from __future__ import annotations

import shutil
import venv
from typing import TYPE_CHECKING

from .libnvml import build_library

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUNTIME = "libcudart.so.13"

TENSORRT = '''\
"""TensorRT as far as a runtime is made; SIM_TENSORRT is what it says to the logger then."""

import os

__version__ = "10.13.3.9"


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Runtime:
    def __init__(self, logger):
        logger.log(ILogger.WARNING, "of no matter")
        if said := os.environ.get("SIM_TENSORRT"):
            logger.log(ILogger.ERROR, said)

    def __del__(self):
        if os.environ.get("SIM_TENSORRT"):
            os.abort()  # As 10.16 does.
'''

TORCH = '''\
"""PyTorch as far as small matrices are multiplied.

SIM_TORCH is JSON: `cuda` is the version that it is built for, `count` how many GPUs it sees,
`init` and `matmul` what goes wrong there, `wrong` lets the GPU calculate wrongly.
"""

import json
import os

_SAID = json.loads(os.environ.get("SIM_TORCH", "{}"))
__version__ = "2.11.0"
float32 = "float32"


class version:
    cuda = _SAID.get("cuda")


class cuda:
    @staticmethod
    def device_count():
        return _SAID.get("count", 0)

    @staticmethod
    def init():
        raise RuntimeError(_SAID.get("init", "No CUDA GPUs are available"))

    @staticmethod
    def get_device_capability(gpu):
        return (9, 0)


class Tensor:
    def __init__(self, values, device="cpu"):
        self.values, self.device = values, device

    def __mod__(self, number):
        return Tensor([value % number for value in self.values])

    def reshape(self, *sides):
        return self

    def to(self, device):
        return Tensor(self.values, device)

    def cpu(self):
        return self.to("cpu")

    def __matmul__(self, other):
        assert self.device == other.device
        wrong = 0
        if self.device != "cpu":
            if "matmul" in _SAID:
                raise RuntimeError(_SAID["matmul"])
            wrong = _SAID.get("wrong", 0)
        return Tensor([a * b + wrong for a, b in zip(self.values, other.values)], self.device)


def arange(count, dtype):
    return Tensor(list(range(count)))


def equal(one, other):
    return one.device == other.device and one.values == other.values
'''


def build_libcudart(folder: Path) -> Path:
    """Compile the stand-in for the CUDA runtime.

    Args:
        folder: Where the library goes; made if missing.

    Returns:
        The path of the library.

    Raises:
        NoCompilerError: There is neither ``cc`` nor ``gcc``.
        RuntimeError: The compiler failed.
    """
    return build_library(folder / RUNTIME, "libcudart.c", RUNTIME)


def make_environment(
    folder: Path, runtime: Path | None = None, modules: Mapping[str, str] | None = None
) -> Path:
    """Make an environment without pip.

    Args:
        folder: Where it goes.
        runtime: The library to put where the wheel of the CUDA runtime has it.
        modules: Packages to put in, as the text of their one file.

    Returns:
        The folder of its packages.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    if runtime is not None:
        place = site / "nvidia" / "cu13" / "lib"
        place.mkdir(parents=True)
        shutil.copy(runtime, place / runtime.name)
    for name, text in (modules or {}).items():
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(text, encoding="utf-8")
    return site
