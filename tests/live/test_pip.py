"""The newest pip installs from the local locks, and its index is never asked."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, distributions
from tests.cli.projects import TARGET, Project, publish_packages
from tests.simulators.environment import uv_binary
from tests.simulators.index import IndexSimulator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live


BACKEND = '\n[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the newest pip."""
    path = tmp_path_factory.mktemp("pip") / "env"
    for words in (
        ("venv", "-q", "--python", sys.executable, path),
        ("pip", "install", "-q", "--python", path, "pip>=26.1"),
    ):
        subprocess.run([uv_binary(), *words], check=True)
    return path


@pytest.mark.parametrize("more", ["", BACKEND], ids=["bare", "package"])
def test_pip_toggles_from_the_locks_and_downloads_nothing(
    environment: Path, tmp_path: Path, more: str
) -> None:
    machine = Machine(tmp_path / "machine")
    with IndexSimulator() as index:
        publish_packages(index, tmp_path / "packages")
        folder = Project(more=more).write(tmp_path / "app", index.index_url)
        (folder / "src").mkdir()
        assert machine.uv(folder, "lock").code == 0
        path = os.pathsep.join([str(environment / "bin"), machine.variables()["PATH"]])
        asked = ("prepare", "--proof", "--json", "--target", TARGET)
        done = machine.gpuenv(folder, *asked, given={"PATH": path})
        assert done.code == 0, done.err
        proofs = [one for one in done.data["proof"] if one["client"] == "pip"]
        assert proofs[0]["ok"], proofs
        assert proofs[0]["program"] == str(environment / "bin" / "pip")
        index.reset_log()
        given = {
            "PIP_INDEX_URL": index.index_url,
            "PIP_CONFIG_FILE": os.devnull,
            # It would ask for a newer pip.
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for line in ("cu12", "cu13", "cu12"):
            lock = f".gpuenv/pylock.{line}.toml"
            words = ("-m", "pip", "install", "--force-reinstall", "-r", lock)
            done = machine.run(folder, environment / "bin" / "python", *words, given=given)
            assert done.code == 0, done.err
            found = {f"lean-{line} 1.0", f"stub-{line} 1.0", "common 1.0"}
            assert found <= distributions(environment)
        assert index.requests == []
