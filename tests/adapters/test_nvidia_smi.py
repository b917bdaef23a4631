"""`nvidia-smi`, played by scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provisioner.adapters._child import Limit
from provisioner.adapters.nvidia_smi import ask_smi, find_smi
from provisioner.core.evidence import Said, Smi
from tests.core.examples import LINUX
from tests.simulators.roots import put

WORDS = 'Field "compute_cap" is not a valid field to query.'


def script(root: Path, text: str, name: str = "usr/bin/nvidia-smi") -> str:
    path = put(root, name, f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def ask(path: str, seconds: float = 20) -> Smi:
    return ask_smi(path, {}, Limit(seconds, lambda _: None))


def test_rows_and_the_banner_are_asked_for(tmp_path: Path) -> None:
    smi = ask(script(tmp_path, 'if [ $# = 0 ]; then echo banner; else echo "$1 $2"; fi'))
    assert smi.fields[-1] == "compute_cap"
    query = f"--query-gpu={','.join(smi.fields)} --format=csv,noheader,nounits\n"
    assert smi.rows == Said(text=query, code=0)
    assert smi.banner == Said(text="banner\n", code=0)


def test_an_old_one_is_asked_again_without_the_field_that_it_does_not_know(tmp_path: Path) -> None:
    old = f"case \"$1\" in *compute_cap*) echo '{WORDS}'; exit 2;; *) echo 0;; esac"
    smi = ask(script(tmp_path, old))
    assert "compute_cap" not in smi.fields
    assert smi.rows == Said(text="0\n", code=0)


def test_one_that_fails_is_not_asked_on(tmp_path: Path) -> None:
    smi = ask(script(tmp_path, "echo 'Failed to initialize NVML: Unknown Error'; exit 255"))
    assert smi.rows is not None
    assert smi.rows.code == 255
    assert smi.banner is None


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    smi = ask(script(tmp_path, "echo 0; exec sleep 60"), 0.5)
    assert smi.rows == Said(text="0\n", code=None)


def test_the_program_on_path_is_this_machines_alone(tmp_path: Path) -> None:
    own = script(tmp_path / "here", "true", "nvidia-smi")
    variables = {"PATH": str(tmp_path / "here")}
    root = tmp_path / "root"
    root.mkdir()
    assert find_smi(variables, root, LINUX) is None
    assert find_smi(variables, Path("/"), LINUX) == own
    other = script(root, "true")
    assert find_smi(variables, root, LINUX) == other


def test_wsls_stands_beside_its_libraries(tmp_path: Path) -> None:
    beside = script(tmp_path, "true", "usr/lib/wsl/lib/nvidia-smi")
    assert find_smi({}, tmp_path, LINUX) is None
    assert find_smi({}, tmp_path, replace(LINUX, kind="wsl2")) == beside
