"""Locks that gpuenv makes, where what they turn out to have changes the choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.projects import A100, V100, X86, publish_libraries
from tests.simulators.index import IndexSimulator
from tests.simulators.libnvml import NoCompilerError, Script, build_libnvml, scripted_environment
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.cli.machine import Given, Machine

TWO_TORCH_DRIVERS = (
    f"driver=580.95.05,cuda=13.0,gpus=9.0,{X86}",
    f"driver=570.124.06,cuda=12.8,gpus=9.0,{X86}",
)
"""The newest of both PyTorch is for CUDA 13, which only the first driver runs."""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexSimulator]:
    """An index with stand-ins for NVIDIA's packages, and what hides them behind another name."""
    folder = tmp_path_factory.mktemp("libraries")
    with IndexSimulator() as index:
        publish_libraries(index, folder)
        for name, version, requires in (
            ("wrapper", "1.0", ["nvidia-cublas==13.1.0.3"]),
            ("nvidia-cublas", "13.1.0.3", []),
            ("torch", "2.11.0", []),
            ("torch", "2.10.0", []),
        ):
            index.publish(make_wheel(folder, name, version, requires=requires))
        yield index


def write(folder: Path, **extras: Sequence[str]) -> Path:
    """A project that uv does not lock, each extra with a profile of its name."""
    folder.mkdir()
    lines = "".join(f"{name} = {json.dumps(list(needs))}\n" for name, needs in extras.items())
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["common"]\n\n[project.optional-dependencies]\n{lines}',
        encoding="utf-8",
    )
    (folder / "profiles").mkdir()
    for name in extras:
        (folder / "profiles" / f"{name}.yaml").write_text(
            f'schema: 1\nname: {name}\ncuda: "{name[2:]}"\nextras: [{name}]\n', encoding="utf-8"
        )
    return folder


@pytest.fixture
def given(libraries: IndexSimulator) -> Given:
    """The index as uv's default."""
    libraries.heal()
    return {"UV_DEFAULT_INDEX": libraries.index_url}


def test_what_a_new_lock_turns_out_to_have_changes_the_choice_at_once(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    # CUDA 13's libraries have no code for a V100; that they come is known only once resolved.
    folder = write(tmp_path / "app", cu12=["wrapper"], cu11=["common"])

    first = machine.gpuenv(folder, "prepare", "--json", "--target", V100, given=given).data

    assert (first["profile"], first["active"]) == ("cu11", "cu11")
    assert first["prepared"] == ["cu11", "cpu"]
    (said,) = (text for text in first["warnings"] if "is not prepared" in text)
    assert said.startswith("`cu12` is not prepared: ")
    assert "`nvidia-cublas`" in said
    assert machine.gpuenv(folder, "select", "--json", given=given).data["profile"] == "cu11"
    again = machine.gpuenv(folder, "prepare", "--json", given=given).data
    assert (again["profile"], again["nothing_to_do"]) == ("cu11", True)


def test_a_lock_that_was_mended_counts_in_the_next_prepare(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    folder = write(tmp_path / "app", cu12=["wrapper"], cu11=["common"])
    assert machine.gpuenv(folder, "prepare", "--target", V100, given=given).code == 0
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(text.replace("wrapper", "common"), encoding="utf-8")

    found = machine.gpuenv(folder, "lock", "--upgrade", given=given)
    assert found.code == 0, found.err

    assert machine.gpuenv(folder, "prepare", "--json", given=given).data["profile"] == "cu12"


def test_upgrade_mends_a_lock_whose_pytorch_rejects_its_line(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    folder = write(tmp_path / "app", cu12=["torch"])
    newer, older = TWO_TORCH_DRIVERS
    # Made with force for another machine, so that nothing bounds the version.
    words = ("lock", "--profile", "cu12", "--force", "--target", newer)
    assert machine.gpuenv(folder, *words, given=given).code == 0
    assert 'version = "2.11.0"' in (folder / "pylock.cu12.toml").read_text(encoding="utf-8")
    refused = machine.gpuenv(folder, "prepare", "--json", "--target", older, given=given)
    assert refused.code == 7
    (reason,) = (
        reason
        for item in refused.envelope["data"]["candidates"]
        if item["profile"] == "cu12"
        for reason in item["reasons"]
    )
    assert reason["hint"].endswith("`gpuenv lock --upgrade` takes it")

    done = machine.gpuenv(folder, "lock", "--upgrade", "--target", older, given=given)

    assert done.code == 0, done.err
    assert 'version = "2.10.0"' in (folder / "pylock.cu12.toml").read_text(encoding="utf-8")
    assert machine.gpuenv(folder, "select", "--target", older, given=given).code == 0


def test_a_lock_that_is_a_folder_does_not_change_the_choice_and_fails_prepare(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    folder = write(tmp_path / "app", cu12=["common"])
    (folder / "pylock.cu12.toml").mkdir()
    data = machine.gpuenv(folder, "select", "--json", "--target", A100, given=given).data
    assert data["profile"] == "cu12"
    assert "lock-unreadable" in [warning["code"] for warning in data["warnings"]]
    assert machine.gpuenv(folder, "prepare", "--target", A100, given=given).code == 1


def test_doctor_does_not_fail_for_a_broken_driver_that_the_choice_does_without(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    try:
        library = build_libnvml(tmp_path / "library")
    except NoCompilerError as error:
        pytest.skip(str(error))
    folder = write(tmp_path / "app", cu12=["common"])
    broken = scripted_environment(library, Script(failures={"nvmlInit": 18}))

    failed = machine.gpuenv(folder, "doctor", given={**given, **broken})
    assert failed.code == 7
    done = machine.gpuenv(folder, "doctor", "--profile", "cpu", "--json", given={**given, **broken})

    assert done.code == 0, done.err
    (host,) = (item for item in done.envelope["data"]["checks"] if item["name"] == "host")
    assert (host["state"], host["code"]) == ("warning", "version-mismatch")


def test_a_project_without_lines_is_told_what_its_gpu_cannot_run(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    folder = write(tmp_path / "app")
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        text.replace('["common"]', '["common", "torch==2.11.0"]'), encoding="utf-8"
    )
    newer, older = TWO_TORCH_DRIVERS
    for target, told in ((newer, False), (older, True)):
        data = machine.gpuenv(folder, "select", "--json", "--target", target, given=given).data
        assert data["profile"] == "cpu"
        codes = [warning["code"] for warning in data["warnings"]]
        assert ("artefact-driver" in codes or "no-artefact" in codes) is told, codes
        assert machine.gpuenv(folder, "lock", "--target", target, given=given).code == 0
        locked = machine.gpuenv(folder, "select", "--json", "--target", target, given=given).data
        codes = [warning["code"] for warning in locked["warnings"]]
        assert ("artefact-driver" in codes) is told, codes


def test_where_no_line_of_pytorch_fits_it_is_said_where_there_are_builds(
    machine: Machine, tmp_path: Path, given: Given
) -> None:
    folder = write(tmp_path / "app", cu130=["torch>=2.15"])
    done = machine.gpuenv(folder, "select", "--target", V100, given=given)
    assert done.code == 7
    assert done.message.hint is not None
    assert "before 2.15" in done.message.hint
    assert "`cu126`" in done.message.hint
