"""A library that is damaged through one environment is found, and mended everywhere."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import ask_python, line_of
from tests.cli.projects import TARGET, Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Prepared
    from tests.cli.machine import Machine
    from tests.simulators.index import IndexSimulator

SHARED = "common/__init__.py"
LINES = ("cu13", "cu12", "cpu")


@pytest.fixture
def prepared(first_prepare: Prepared, index: IndexSimulator) -> Prepared:
    """The project of this module, with every environment as it was made."""
    mended = first_prepare.gpuenv("store", "verify", "--repair", network=False)
    assert mended.code == 0, mended.err
    index.reset_log()
    return first_prepare


def file_of(environment: Path, name: str = SHARED) -> Path:
    (found,) = environment.glob(f"lib/python*/site-packages/{name}")
    return found


def spoil(path: Path) -> None:
    """As root, or whoever gives himself the permission to write, can."""
    time.sleep(0.02)  # The clock of a file system moves in steps of some milliseconds.
    path.chmod(0o644)
    os.truncate(path, 0)


def damaged(data: dict[str, Any]) -> dict[str, list[str]]:
    return {
        item["profile"]: [one["path"] for one in item["damaged"]]
        for item in data["prepared"]
        if item["damaged"]
    }


def test_what_environments_share_cannot_be_written_to(prepared: Prepared) -> None:
    assert prepared.done.data["link_mode"] in {"clone", "hardlink"}
    for line in LINES:
        found = file_of(prepared.environment(line)).stat()
        assert found.st_nlink == 1 or not found.st_mode & 0o222


def test_damage_is_found_in_every_environment_and_mended_with_uvs_cache_and_no_network(
    prepared: Prepared, index: IndexSimulator, tmp_path: Path
) -> None:
    if prepared.done.data["link_mode"] != "hardlink":
        pytest.skip("nothing is shared here that could be spoiled")
    before = {line: prepared.environment(line) for line in LINES}
    spoil(file_of(before["cu13"]))

    status = prepared.gpuenv("status", "--json")
    assert status.code == 4
    assert damaged(status.envelope["data"]) == {line: [SHARED] for line in LINES}
    told = prepared.gpuenv("status")
    assert told.message.hint == "`gpuenv store verify --repair` mends it, and uv's cache"
    cause = f"the environment of `cu12` is damaged: `{SHARED}` of `common` has another size"
    assert any(line.startswith(cause) for line in told.message.causes)

    quick = prepared.gpuenv("store", "verify", "--quick", "--json")
    assert quick.code == 4
    found = quick.envelope["data"]["environments"]
    assert found["checked"] == len(LINES)
    assert {item["environment"] for item in found["damaged"]} == set(map(str, before.values()))

    mended = prepared.gpuenv("store", "verify", "--repair", "--json", network=False)
    assert mended.code == 0, mended.err
    assert mended.data["repaired"] == len(LINES)
    assert prepared.gpuenv("status").code == 0
    assert line_of(prepared.link) == "cu13"
    after = {line: prepared.environment(line) for line in LINES}
    assert prepared.link.readlink() == after["cu13"]
    files = {file_of(path).stat().st_ino for path in after.values()}
    assert len(files) == 1
    assert not files & {file_of(path).stat().st_ino for path in before.values()}

    new = tmp_path / "new"
    synced = prepared.uv("sync", network=False, given={"UV_PROJECT_ENVIRONMENT": str(new)})
    assert synced.code == 0, synced.err
    assert ask_python(new, "import common; print(common.__version__)") == "1.0"
    again = prepared.gpuenv("prepare", "--json", network=False)
    assert again.data["fetched"] == {"files": 0, "bytes": 0}
    assert index.requests == []


def test_every_uv_that_was_filled_takes_what_was_damaged_from_the_store_again(
    prepared: Prepared, index: IndexSimulator, tmp_path: Path
) -> None:
    second = tmp_path / "uv"
    uv, cache = prepared.machine.root / "bin" / "uv", tmp_path / "cache"
    second.write_text(f'#!/bin/sh\nUV_CACHE_DIR={cache} exec {uv} "$@"\n', encoding="utf-8")
    second.chmod(0o755)
    filled = prepared.gpuenv("prepare", "--no-proof", "--uv", second, network=False)
    assert filled.code == 0, filled.err
    environment = prepared.environment("cpu")
    if file_of(environment).stat().st_nlink == 1:
        pytest.skip("nothing is shared here that could be spoiled")
    spoil(file_of(environment))

    mended = prepared.gpuenv("store", "verify", "--quick", "--repair", network=False)

    assert mended.code == 0, mended.err
    told = [line for line in mended.err.splitlines() if "takes `common` from the store" in line]
    assert len(told) == 2
    given = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "new")}
    words = ("sync", "--offline")
    synced = prepared.machine.run(prepared.folder, second, *words, network=False, given=given)
    assert synced.code == 0, synced.err
    assert index.requests == []


def test_a_new_environment_is_never_made_of_what_is_damaged_in_uvs_cache(
    prepared: Prepared, index: IndexSimulator, new_project: Callable[[Project], Path]
) -> None:
    if prepared.done.data["link_mode"] != "hardlink":
        pytest.skip("nothing is shared here that could be spoiled")
    spoil(file_of(prepared.environment("cu12")))
    other = new_project(Project(name="other"))
    index.reset_log()

    done = prepared.machine.gpuenv(other, "prepare", "--only", "--target", TARGET, network=False)

    assert done.code == 0, done.err
    assert "uv's cache has damaged files of `common`" in done.err
    assert file_of(other / ".venv").read_text(encoding="utf-8") == '__version__ = "1.0"\n'
    assert index.requests == []


def test_a_private_file_that_was_changed_spoils_one_environment_alone(prepared: Prepared) -> None:
    script = prepared.environment("cpu")
    (record,) = script.glob("lib/python*/site-packages/common-*.dist-info/RECORD")
    record.write_bytes(b"")

    status = prepared.gpuenv("status", "--json")
    assert status.code == 4
    assert damaged(status.envelope["data"]) == {"cpu": ["common-1.0.dist-info/RECORD"]}
    shared = file_of(prepared.environment("cu13")).stat().st_ino

    mended = prepared.gpuenv("store", "verify", "--quick", "--repair", network=False)
    assert mended.code == 0, mended.err
    assert "was made again" in mended.out
    assert "uv's cache" not in mended.out
    assert file_of(prepared.environment("cu13")).stat().st_ino == shared


def test_a_process_that_runs_keeps_its_environment_while_that_is_mended(
    prepared: Prepared,
) -> None:
    code = "import sys; sys.stdin.readline(); import lean; print(lean.LINE)"
    with subprocess.Popen(
        [prepared.link / "bin" / "python", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=prepared.machine.variables(),
        text=True,
    ) as process:
        file_of(prepared.environment("cu13")).unlink()
        mended = prepared.gpuenv("store", "verify", "--quick", "--repair", network=False)
        assert mended.code == 0, mended.err
        out, _ = process.communicate("go\n", timeout=60)
    assert (process.returncode, out) == (0, "cu13\n")


def test_what_cannot_be_made_again_is_told(prepared: Prepared) -> None:
    lock = prepared.folder / "uv.lock"
    text = lock.read_text(encoding="utf-8")
    record = "common-1.0.dist-info/RECORD"  # uv's own, which no wheel has like that.
    file_of(prepared.environment("cpu"), record).unlink()
    lock.write_text(f"{text}# another one\n[broken", encoding="utf-8")
    failed = prepared.gpuenv("store", "verify", "--quick", "--repair", network=False)
    lock.write_text(text, encoding="utf-8")
    assert failed.code == 4
    (cause,) = failed.message.causes
    assert f"`{record}` of `common` is gone; not made again: `uv.lock` is malformed" in cause
    assert failed.message.hint is not None


def test_what_a_project_no_longer_knows_is_told_until_it_is_prepared(prepared: Prepared) -> None:
    state = prepared.folder / ".gpuenv" / "state.json"
    text = state.read_bytes()
    state.unlink()
    file_of(prepared.link).unlink()

    failed = prepared.gpuenv("store", "verify", "--quick", "--repair", network=False)

    assert failed.code == 4
    assert "not made again: its project does not know how it was made" in failed.err
    again = prepared.gpuenv("prepare", "--target", TARGET, network=False)
    assert again.code == 0, again.err
    assert file_of(prepared.link).is_file()
    verified = prepared.gpuenv("store", "verify", "--quick")
    assert verified.code == 0, verified.err
    state.write_bytes(text)


def test_an_earlier_generation_whose_lock_is_no_more_is_mended_too(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(name="locked-anew", lines=("cu13",)))
    words = ("prepare", "--only", "--no-proof", "--target", TARGET)
    first = warm.gpuenv(app, *words, "--json")
    assert first.code == 0, first.err
    manifest = app / "pyproject.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('["common"]', '["common", "helper"]'), encoding="utf-8")
    assert warm.uv(app, "lock").code == 0
    assert warm.gpuenv(app, *words).code == 0
    old = Path(first.data["environment"])
    assert (app / ".venv").readlink() != old
    spoil(file_of(app / ".venv"))
    file_of(old).unlink()
    file_of(old, "common-1.0.dist-info/METADATA").write_bytes(b"")

    mended = warm.gpuenv(app, "store", "verify", "--quick", "--repair", network=False)

    assert mended.code == 0, mended.err
    assert file_of(old).read_text(encoding="utf-8") == '__version__ = "1.0"\n'
    assert not list(old.rglob(".*.gpuenv"))
    assert warm.gpuenv(app, "store", "verify").code == 0
    back = warm.gpuenv(app, "rollback", "--json", network=False)
    assert (back.data["environment"], back.data["drifted"]) == (str(old), False)
