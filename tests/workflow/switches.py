"""Switch and roll back in children that are killed at each step; one line of JSON a step.

It runs as a program of its own, since it forks: `python -m tests.workflow.switches FOLDER VERB`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.environment import finish
from provisioner.adapters.state import State, StateFolder
from provisioner.core.history import History, Prepared
from provisioner.workflow.progress import Quiet
from provisioner.workflow.status import status
from provisioner.workflow.switch import rollback, switch
from provisioner.workflow.world import Options, World

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES: Final = ("cu13", "cu12")
MOST_STEPS: Final = 100
STEPS: Final = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.symlink", "os.truncate", "os.utime"}
)
"""What changes a disk, of what Python tells before it does it; and opening for writing."""
_WRITING: Final = os.O_WRONLY | os.O_RDWR


def prepared_project(root: Path) -> tuple[World, Options]:
    """A project with an environment of each profile, the first of them active."""
    folder, store = root / "app", root / "store"
    folder.mkdir(parents=True)
    ready = []
    for name in PROFILES:
        path = store / "envs" / f"app-{name}"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        (path / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
        (path / "bin").mkdir()
        (path / "bin" / "python").symlink_to(sys.executable)
        recipe = {
            "folder": str(folder),
            "lock": str(folder / "uv.lock"),
            "lock_hash": "",
            "lock_stamp": [],
            "python": sys.executable,
        }
        ready.append(
            Prepared(
                profile=name,
                environment=str(path),
                stamp=finish(path, {"project": str(folder), "profile": name}),
                inputs=name,
                recipe=recipe,
            )
        )
    states = StateFolder(folder)
    history = History()
    for item in (ready[1], ready[0]):
        history = history.activate(item, automatic=False, now=0)
    with states.hold(wait_seconds=0):
        states.write(State(history=history, prepared=tuple(ready)))
        states.flip(Path(ready[0].environment))
    world = World(variables={}, home=root, folder=folder, now=lambda: 1.0, progress=Quiet())
    return world, Options(store=store)


def killed_at(step: int, action: Callable[[], object]) -> int:
    """Do something in a child that is killed before its so manieth step; how it ended."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and bool((arguments[2] or 0) & _WRITING)
            if event in STEPS or writes:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(count)
        try:
            action()
        except BaseException:  # noqa: BLE001 - a child never goes on as its parent
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(root: Path, verb: str) -> None:
    """Tell for each step how the child ended and what there is then, until none is left."""
    for step in range(MOST_STEPS):
        world, options = prepared_project(root / str(step))
        folder = world.folder

        def act(world: World = world, options: Options = options) -> object:
            if verb == "switch":
                return switch(world, options, "cu12")
            return rollback(world, options, 1)

        code = killed_at(step, act)
        told = {"code": code, "link": (folder / ".venv").readlink().name}
        told["first"] = _looked(world, options)
        act()
        told["after"] = _looked(world, options)
        told["names"] = sorted(path.name for path in folder.iterdir())
        told["own"] = sorted(path.name for path in (folder / ".gpuenv").iterdir())
        told["back"] = rollback(world, options, None).to if verb == "switch" else None
        sys.stdout.write(f"{json.dumps(told)}\n")
        if code == 0:
            return


def _looked(world: World, options: Options) -> dict[str, Any]:
    found = status(world, options)
    return {**found.to_json(), "damage": found.damage() is not None}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
