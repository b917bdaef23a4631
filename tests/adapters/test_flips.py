"""A thousand switches under processes that start and import all the time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.adapters.test_anchor import MODULES, NAMES, make_environments
from tests.simulators.environment import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.state import StateFolder

FLIPS: Final = 1000
STARTS: Final = 30
"""So many starts at least have to have fallen into the time of the switches."""

STARTER: Final = """
import select, subprocess, sys
while not select.select([sys.stdin], [], [], 0)[0]:
    done = subprocess.run([sys.argv[1], "-c", sys.argv[2]], capture_output=True, text=True)
    print(done.returncode, done.stdout + done.stderr, end="", flush=True)
"""
"""Starts one Python after the other until its input ends."""

ALL_AT_ONCE: Final = f"""
import early, inner, sys
found = {{early.value, inner.value, sys.prefix.rpartition("/")[2]}}
found |= {{__import__(f"late_{{number}}").value for number in range({MODULES})}}
print(*found)
"""

ONE_BY_ONE: Final = f"""
import importlib, select, sys
while not select.select([sys.stdin], [], [], 0.02)[0]:
    for number in range({MODULES}):
        name = f"late_{{number}}"
        importlib.invalidate_caches()
        sys.path_importer_cache.clear()
        print(0, importlib.import_module(name).value, flush=True)
        del sys.modules[name]
"""
"""Imports each module again and again, looked for anew, until its input ends."""


class Reader:
    """A process that imports until it is told to stop."""

    def __init__(self, folder: Path, name: str, *words: str | Path) -> None:
        self._said = folder / name
        with self._said.open("w", encoding="utf-8") as out:
            self._process = subprocess.Popen(
                words, env=clean_environment(folder), stdin=subprocess.PIPE, stdout=out, stderr=out
            )

    @property
    def said(self) -> list[str]:
        """A line for every start, or every import."""
        return self._said.read_text(encoding="utf-8").splitlines()

    def stop(self) -> list[str]:
        """End it, and tell all that it said."""
        self._process.communicate(timeout=60)
        return self.said


def test_in_a_thousand_switches_no_import_fails_and_no_process_mixes_environments(
    state: StateFolder, tmp_path: Path
) -> None:
    pair = make_environments(tmp_path)
    python = state.link / "bin" / "python"
    state.flip(pair[0])
    script = tmp_path / "starter.py"
    script.write_text(STARTER, encoding="utf-8")
    starter = Reader(tmp_path, "starts", sys.executable, script, python, ALL_AT_ONCE)
    late: list[Reader] = []
    try:
        flips = 0
        while flips < FLIPS or len(starter.said) < STARTS:
            if flips % (FLIPS // 4) == 0 and flips < FLIPS:
                late.append(Reader(tmp_path, f"late-{len(late)}", python, "-c", ONE_BY_ONE))
            flips += 1
            assert state.flip(pair[flips % 2])
    finally:
        imports, starts = [reader.stop() for reader in late], starter.stop()

    assert set(starts) == {f"0 {name}" for name in NAMES}
    for said in imports:
        assert len(said) > MODULES
        assert len(set(said)) == 1
        assert said[0] in {"0 one", "0 two"}
