"""A switch that is killed at any step leaves the old or the new, and says which."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from provisioner.adapters.roots import Roots
from provisioner.core.reach import Limits
from provisioner.workflow.status import status
from provisioner.workflow.store_gc import store_gc
from provisioner.workflow.switch import switch
from tests.workflow.stores import LONG_AGO
from tests.workflow.switches import PROFILES, prepared_project

ROOT: Final = Path(__file__).parents[2]
FLIPS: Final = {"app-cu13": "cu13", "app-cu12": "cu12"}


def killed_at_each_step(tmp_path: Path, verb: str) -> list[dict[str, Any]]:
    """What was found after a kill at each step, and at last after none."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.workflow.switches", tmp_path, verb],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("verb", ["switch", "rollback"])
def test_killed_at_any_step_the_old_or_the_new_is_active_and_told(
    tmp_path: Path, verb: str
) -> None:
    found = killed_at_each_step(tmp_path, verb)

    codes = [item["code"] for item in found]
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0]
    assert len(codes) > 5
    for item in found:
        first = item["first"]
        assert first["active"] == FLIPS[item["link"]]
        assert (first["linked"], first["damage"]) == (True, False)
    # Once it is the new one, it stays so.
    links = [item["link"] for item in found]
    assert links == sorted(links, reverse=True)
    assert set(links) == {"app-cu13", "app-cu12"}


@pytest.mark.parametrize("verb", ["switch", "rollback"])
def test_the_next_one_ends_what_was_killed_and_leaves_nothing_half(
    tmp_path: Path, verb: str
) -> None:
    for item in killed_at_each_step(tmp_path, verb):
        after = item["after"]
        assert after["active"] == "cu12"
        assert (after["linked"], after["damage"]) == (True, False)
        assert item["names"] == [".gpuenv", ".venv"]
        assert [name for name in item["own"] if name.startswith(".state")] == []
        # Going back leads to what was active before, also where that was noted twice.
        assert item["back"] == ("cu13" if verb == "switch" else None)


def test_switches_beside_collections_without_end_lose_no_environment(tmp_path: Path) -> None:
    world, options = prepared_project(tmp_path)
    world = replace(world, now=time.time, root=tmp_path)
    folder = world.folder
    Roots(tmp_path / "store").register(folder, str(folder), (), LONG_AGO)
    for path in (tmp_path / "store" / "envs").iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    done = threading.Event()
    removed: list[object] = []
    collections = 0

    def collect() -> None:
        nonlocal collections
        while not done.is_set():
            result = store_gc(world, options, Limits(), dry_run=False)
            removed.extend(item for item in result.removals if item.kind == "environments")
            collections += 1

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for turn in range(100):
            switch(world, options, PROFILES[(turn + 1) % 2])
    finally:
        done.set()
        collector.join()

    assert collections > 0
    assert removed == []
    assert status(world, options).damage() is None
