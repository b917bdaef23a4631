"""The program that runs inside environments, of whatever Python they are."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.adapters import environment_check
from provisioner.adapters.environment_check import program_command, program_variables
from tests.simulators.cuda_environment import make_environment

OLDEST = (3, 9)
PROGRAM = Path(environment_check.__file__).with_name("_check_program.py")


def survey(environment: Path) -> object:
    done = subprocess.run(
        program_command(environment, "survey", 30), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["value"]


def test_the_program_is_one_that_python_3_9_understands() -> None:
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=OLDEST)
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names


def test_only_libraries_under_their_own_names_and_modules_with_code_are_found(
    tmp_path: Path,
) -> None:
    site = make_environment(tmp_path / "env", modules={"torch": ""})
    (site / "tensorrt").mkdir()  # Left over: a folder without code.
    names = (
        "cudnn/lib/libcudnn.so.9",
        "cudnn/lib/libcudnn_ops.so.9",
        "cuda_runtime/lib/libcudart.so.12",
        "cuda_runtime/lib/libcudart_static.a",
        "cu13/lib/libcudart.so.13",
        "cu13/lib/libnvrtc-builtins.so.13.0",
        "cu13/lib/libcublasLt.so.13",
    )
    for name in names:
        path = site / "nvidia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = site / "nvidia"
    assert survey(tmp_path / "env") == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "libraries": [
            str(folder / "cu13/lib/libcudart.so.13"),
            str(folder / "cuda_runtime/lib/libcudart.so.12"),
            str(folder / "cudnn/lib/libcudnn.so.9"),
        ],
        "modules": ["torch"],
    }


def test_what_a_library_prints_does_not_get_between_the_answers(tmp_path: Path) -> None:
    text = "import os\nprint('printed')\nos.write(1, b'written\\n')\n__version__ = '1.0'\n"
    make_environment(tmp_path / "env", modules={"tensorrt": text})
    command = program_command(tmp_path / "env", "module", 30, name="tensorrt", on_gpu=False)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [{"call": "import"}, {"call": "version", "value": "1.0"}]


def test_a_module_that_ends_the_process_is_told(tmp_path: Path) -> None:
    make_environment(tmp_path / "env", modules={"tensorrt": "raise SystemExit(0)"})
    command = program_command(tmp_path / "env", "module", 30, name="tensorrt", on_gpu=False)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1]) == {"failed": "SystemExit: 0"}


def test_the_program_ends_by_itself_where_nobody_waits_for_it(tmp_path: Path) -> None:
    make_environment(tmp_path / "env", modules={"tensorrt": "import time; time.sleep(60)"})
    command = program_command(tmp_path / "env", "module", 0, name="tensorrt", on_gpu=False)
    done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert done.returncode < 0


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"])
def test_the_users_choice_of_gpus_and_libraries_reaches_the_program(name: str) -> None:
    given = {name: "1", "PYTHONHOME": "/other"}
    kept = program_variables(given, frozenset({"PYTHONHOME"}))
    assert (kept[name], "PYTHONHOME" in kept) == ("1", False)
