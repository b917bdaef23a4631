"""Projects without uv whose real build backends come from the public index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, ask_python, distributions
from tests.cli.projects import TARGET
from tests.live.clients import reaching

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

PROJECT = """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["six"]

[project.optional-dependencies]
cu12 = ["nvidia-cuda-runtime-cu12"]
cu13 = ["nvidia-cuda-runtime"]
"""
POETRY = """\
[tool.poetry]
name = "app"
version = "0.1.0"
description = ""
authors = []

[tool.poetry.dependencies]
python = ">=3.11"
six = "*"
nvidia-cuda-runtime-cu12 = { version = "*", optional = true }
nvidia-cuda-runtime = { version = "*", optional = true }

[tool.poetry.extras]
cu12 = ["nvidia-cuda-runtime-cu12"]
cu13 = ["nvidia-cuda-runtime"]

[tool.poetry.group.dev.dependencies]
pytest = "*"
"""
SETUP_PY = """\
from setuptools import setup

EXTRAS = {"cu12": ["nvidia-cuda-runtime-cu12"], "cu13": ["nvidia-cuda-runtime"]}
setup(name="app", version="0.1.0", py_modules=["app"], install_requires=["six"],
      extras_require=EXTRAS)
"""
SETUP_CFG = """\
[metadata]
name = app
version = 0.1.0

[options]
py_modules = app
install_requires = six

[options.extras_require]
cu12 = nvidia-cuda-runtime-cu12
cu13 = nvidia-cuda-runtime
"""


def backend(requires: str, name: str) -> str:
    return f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{name}"\n'


SETUPTOOLS = backend("setuptools", "setuptools.build_meta")
POETRY_CORE = backend("poetry-core", "poetry.core.masonry.api")
HATCH = '[tool.hatch.build.targets.wheel]\nonly-include = ["app.py"]\n'
KINDS = {
    "hatchling": {"pyproject.toml": PROJECT + HATCH + backend("hatchling", "hatchling.build")},
    "setuptools": {"pyproject.toml": PROJECT + SETUPTOOLS},
    "poetry-core": {"pyproject.toml": PROJECT + POETRY_CORE},
    "pdm-backend": {"pyproject.toml": PROJECT + backend("pdm-backend", "pdm.backend")},
    "poetry 1": {"pyproject.toml": POETRY + POETRY_CORE},
    "setup.py": {"pyproject.toml": SETUPTOOLS, "setup.py": SETUP_PY},
    "setup.py beside settings": {"pyproject.toml": "[tool.ruff]\n", "setup.py": SETUP_PY},
    "setup.cfg": {"pyproject.toml": SETUPTOOLS, "setup.cfg": SETUP_CFG},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_of_each_backend_is_installed_editable_with_its_lines(
    tmp_path: Path, kind: str
) -> None:
    machine = Machine(tmp_path / "machine", **reaching())
    app = tmp_path / "app"
    app.mkdir()
    for name, text in KINDS[kind].items():
        (app / name).write_text(text, encoding="utf-8")
    (app / "app.py").write_text("VALUE = 1\n", encoding="utf-8")
    done = machine.gpuenv(app, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13", "cu12", "cpu"]
    assert {"app 0.1.0"} < distributions(app / ".venv")
    (app / "app.py").write_text("VALUE = 2\n", encoding="utf-8")
    assert ask_python(app / ".venv", "import app, six; print(app.VALUE)") == "2"
    for line, package in (("cu12", "nvidia-cuda-runtime-cu12"), ("cu13", "nvidia-cuda-runtime")):
        switched = machine.gpuenv(app, "switch", line, network=False)
        assert switched.code == 0, switched.err
        names = {name.split()[0] for name in distributions(app / ".venv")}
        assert names == {"app", "six", package}
    again = machine.gpuenv(app, "prepare", "--json", network=False)
    assert again.data["nothing_to_do"] is True
    lock = (app / ".gpuenv" / "pylock.cu13.toml").read_text(encoding="utf-8")
    assert 'name = "app"' in lock
    notes = " ".join(done.data["notes"])
    assert ("only poetry reads that table" in notes) == (kind == "poetry 1")
