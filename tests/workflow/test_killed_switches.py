"""A switch that is killed at any step leaves the old or the new, and says which."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

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
