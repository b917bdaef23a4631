"""Load the GPU libraries inside an environment and, where there is a GPU, use them on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters._child import Limit, run
from provisioner.adapters.environment import is_intact, note_use
from provisioner.adapters.environment_check import program_command, program_variables
from provisioner.adapters.profiles import load_facts
from provisioner.adapters.uv import SCRUBBED
from provisioner.core.check import (
    LIBRARY_PATH,
    TIME_LIMIT,
    VISIBLE,
    CheckResult,
    Report,
    Situation,
    driver_step,
    has_driver,
    may_use_gpus,
    not_reached,
    python_step,
    read_survey,
    steps_of,
)
from provisioner.core.compat import driver_findings
from provisioner.core.evidence import Asked, read_lines, split_lines
from provisioner.workflow.detect import detect_host
from provisioner.workflow.probe import read_answers, seconds_from
from provisioner.workflow.run import prepared_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.core.check import Step, Survey, TaskKind
    from provisioner.workflow.world import Options, World

_SECONDS: Final = 120.0
"""A first import of PyTorch from a slow disk and a first CUDA context take long."""
_RUNTIME: Final = "libcudart."


def check(world: World, options: Options) -> CheckResult:
    """Try the environment of the named profile, or of the active one.

    Each library is tried in a process of its own, so that one which crashes or hangs takes
    nothing with it, and none is there because another one was loaded before. After a hang
    nothing more is tried where it was: on the GPUs, or at all.

    Raises:
        NotPreparedError: nothing is prepared, or not that profile.
        UsageError: a time limit is not one.
    """
    seconds = seconds_from(world.variables, TIME_LIMIT, _SECONDS)
    prepared = prepared_environment(world, options)
    environment = Path(prepared.environment)
    note_use(environment)
    world.guard()
    asker = _Asker(world, environment, seconds)
    told = asker.ask("python", "survey")
    survey = read_survey(told)
    if survey is None:
        steps: tuple[Step, ...] = (python_step(told, prepared.profile),)
    elif survey.is_empty:
        steps = ()
    else:
        facts = load_facts()
        situation = Situation(
            profile=prepared.profile,
            host=driver_findings(detect_host(world), facts),
            facts=facts,
            changed=not is_intact(prepared),
            visible=world.variables.get(VISIBLE),
            library_path=world.variables.get(LIBRARY_PATH) or None,
        )
        steps = _steps(asker, survey, situation)
    return CheckResult(
        profile=prepared.profile,
        environment=prepared.environment,
        python=survey.python if survey else None,
        steps=steps,
        variables={
            name: world.variables[name]
            for name in (LIBRARY_PATH, VISIBLE)
            if name in world.variables
        },
    )


class _Asker:
    """Has tasks done in the environment."""

    def __init__(self, world: World, environment: Path, seconds: float) -> None:
        self._world = world
        self._environment = environment
        self._seconds = seconds
        self._variables = program_variables(world.variables, SCRUBBED)

    def ask(self, spoken: str, task: str, **given: object) -> Asked:
        """Do a task, and read what it answered."""

        def waiting(written: bytearray) -> str:
            call = read_lines(split_lines(bytes(written))).waiting
            return f"{spoken}: {call}" if call else spoken

        limit = Limit(self._seconds, self._world.progress.note)
        command = program_command(self._environment, task, self._seconds, **given)
        ran = run(command, self._variables, limit, waiting, hidden=frozenset())
        return read_answers(ran, self._seconds)


def _steps(asker: _Asker, survey: Survey, situation: Situation) -> tuple[Step, ...]:
    """Everything that there is: what is loaded alone first, then what uses the GPUs too."""
    told = asker.ask("driver", "driver")
    driver = driver_step(told, situation)
    why_not: str | None = None
    if not has_driver(told):
        why_not = driver.message if driver.state == "skipped" else "the driver does not work"
    searched = [folder for folder in (situation.library_path or "").split(":") if folder]
    reports: list[Report] = []
    steps: list[Step] = []
    loaded: set[str] = set()
    hung = False
    for kind, name, path in _tasks(survey):
        if hung:
            steps.append(not_reached(name, on_gpu=kind == "runtime"))
            continue
        if kind == "library":
            asked = asker.ask(name, kind, path=path, searched=searched)
        elif kind == "module":
            asked = asker.ask(name, kind, name=name, on_gpu=why_not is None)
        elif path not in loaded:
            continue
        else:
            asked = asker.ask(name, kind, path=path) if why_not is None else Asked()
        report = Report(kind=kind, name=name, asked=asked)
        found = steps_of(report, situation, why_not_on_gpu=why_not)
        reports.append(report)
        steps += found
        if kind != "runtime" and found[0].state == "ok":
            loaded.add(path)
        if asked.ended == "timeout":
            hung = path not in loaded
            why_not = why_not or f"`{name}` did not answer"
    return (*((driver,) if may_use_gpus(reports) else ()), *steps)


def _tasks(survey: Survey) -> Iterator[tuple[TaskKind, str, str]]:
    """Kind, name and path of each task; of a module the name stands for the path."""
    for path in survey.libraries:
        yield "library", Path(path).name, path
    for path in survey.libraries:
        if Path(path).name.startswith(_RUNTIME):
            yield "runtime", Path(path).name, path
    for name in survey.modules:
        yield "module", name, name
