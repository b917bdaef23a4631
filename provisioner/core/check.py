"""What loading the GPU libraries of an environment, and trying them on the GPUs, has shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.core.cuda_errors import (
    INSUFFICIENT_DRIVER,
    NO_DEVICE,
    NO_KERNEL_IMAGE,
    known_error,
)
from provisioner.core.facts import leading_version
from provisioner.core.findings import ABSENT, KINDS
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.evidence import Answer, Asked
    from provisioner.core.facts import Facts
    from provisioner.core.host import Finding, Host

State = Literal["ok", "failed", "skipped"]
TaskKind = Literal["library", "runtime", "module"]

TIME_LIMIT: Final = "GPUENV_CHECK_TIMEOUT"
LIBRARY_PATH: Final = "LD_LIBRARY_PATH"
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
LIBCUDA: Final = "libcuda.so.1"
_LOADING: Final = frozenset({"dlopen", "import"})
"""The calls that load something; all others are made to what is loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What an environment has to load: its Python, files of libraries, names of modules."""

    python: str
    libraries: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to load."""
        return not (self.libraries or self.modules)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of one task: a library that was loaded, or used on the GPUs, or a module."""

    kind: TaskKind
    name: str
    asked: Asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What explains a failure.

    `changed`: something installed or removed packages in the environment since it was made.
    `visible` and `library_path` are the user's `CUDA_VISIBLE_DEVICES` and `LD_LIBRARY_PATH`.
    """

    profile: str
    host: Host
    facts: Facts
    changed: bool = False
    visible: str | None = None
    library_path: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that was checked, or that could not be; `gpu` is its index as CUDA counts."""

    name: str
    state: State
    message: str
    on_gpu: bool = False
    gpu: int | None = None
    code: str | None = None
    version: str | None = None
    causes: tuple[str, ...] = ()
    hint: str | None = None

    @property
    def title(self) -> str:
        """What was checked."""
        if self.gpu is not None:
            return f"{self.name} on GPU {self.gpu}"
        return f"{self.name} on a GPU" if self.on_gpu else self.name

    def to_json(self) -> dict[str, Any]:
        """The fields of one of `check --json`'s `steps`."""
        return {
            "name": self.name,
            "on_gpu": self.on_gpu,
            "gpu": self.gpu,
            "state": self.state,
            "code": self.code,
            "version": self.version,
            "message": self.message,
            "causes": list(self.causes),
            "hint": self.hint,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """All steps, in the order in which they were done.

    `variables` are the user's that decide on what is loaded and seen. Without a `python` the
    environment's own did not start.
    """

    profile: str
    environment: str
    python: str | None
    steps: tuple[Step, ...]
    variables: Mapping[str, str]

    @property
    def ran_on_gpu(self) -> bool:
        """Whether anything was right on a GPU."""
        return any(step.on_gpu and step.state == "ok" for step in self.steps)

    @property
    def summary(self) -> str:
        """What was checked, and what was not, in one sentence."""
        if not self.steps:
            return "nothing to check: the environment has no library for GPUs"
        failed = sum(step.state == "failed" for step in self.steps)
        if failed:
            return f"{failed} of {len(self.steps)} failed"
        if self.ran_on_gpu:
            skipped = any(step.state == "skipped" for step in self.steps)
            return "what could be checked is right" if skipped else "all is right"
        return "what could be checked is right; nothing was tried on a GPU"

    def failure(self) -> GpuenvError | None:
        """What does not work, if something does not."""
        failed = [step for step in self.steps if step.state == "failed"]
        if not failed:
            return None
        lines = (
            line for step in failed for line in (f"{step.title}: {step.message}", *step.causes)
        )
        return GpuenvError(
            f"the environment of `{self.profile}` does not work here",
            causes=tuple(dict.fromkeys(lines)),
            hint=next((step.hint for step in failed if step.hint), None),
            code="check-failed",
            data=self.to_json(),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of `check --json`."""
        return {
            "profile": self.profile,
            "environment": self.environment,
            "python": self.python,
            "variables": dict(self.variables),
            "ran_on_gpu": self.ran_on_gpu,
            "steps": [step.to_json() for step in self.steps],
        }


def read_survey(asked: Asked) -> Survey | None:
    """What there is to load; None where the environment's Python did not tell."""
    found = _value(asked, "survey")
    if not isinstance(found, dict):
        return None
    return Survey(
        python=str(found.get("python")),
        libraries=tuple(map(str, found.get("libraries", ()))),
        modules=tuple(map(str, found.get("modules", ()))),
    )


def python_step(asked: Asked, profile: str) -> Step:
    """The environment's Python, which did not start."""
    why = asked.detail or (f"no answer in {asked.seconds:g} s" if asked.ended == "timeout" else "")
    return Step(
        name="python",
        state="failed",
        code="python-failed",
        message="does not start",
        causes=(why,) if why else (),
        hint=f"`gpuenv prepare --profile {profile}` makes the environment again",
    )


def has_driver(asked: Asked) -> bool:
    """Whether the driver's library is there and answers."""
    return _value(asked, "cuDriverGetVersion") is not None


def may_use_gpus(reports: Iterable[Report]) -> bool:
    """Whether anything in an environment is made for GPUs: PyTorch need not be."""
    return any(not _is_for_cpu(report) for report in reports)


def _is_for_cpu(report: Report) -> bool:
    told = [answer for answer in report.asked.answers if answer.call == "cuda"]
    return report.name == "torch" and bool(told) and told[-1].value is None


def driver_step(asked: Asked, situation: Situation) -> Step:
    """The driver's library: absent is not broken."""
    version = _value(asked, "cuDriverGetVersion")
    if isinstance(version, int):
        runs = f"{version // 1000}.{version % 1000 // 10}"
        driver = situation.host.driver
        own = f"driver `{driver.version}` " if driver and driver.version else ""
        message = f"{own}runs CUDA `{runs}`"
        return Step(name="driver", state="ok", message=message, version=runs)
    host = situation.host
    answer = _failure(asked)
    if answer and answer.call == "dlopen" and _is_absent(answer.said or ""):
        absent = next((item for item in host.findings if item.code in ABSENT), None)
        faults = [item for item in host.findings if KINDS[item.code].fault]
        if host.driver is None and not faults:
            message = absent.message if absent else "no NVIDIA driver was found"
            return Step(name="driver", state="skipped", code="no-driver", message=message)
        return Step(
            name="driver",
            state="failed",
            code="driver-failed",
            message=f"`{LIBCUDA}` is not found",
            causes=tuple(item.message for item in faults),
            hint=_hint_of(faults) or KINDS["driver-no-compute-lib"].hint,
        )
    return _failed("driver", asked, situation)


def _is_absent(said: str) -> bool:
    """Whether the loader found no such library, and not another one that it needs."""
    return LIBCUDA in said and "no such file" in said.lower() and f"needed by {LIBCUDA}" not in said


def steps_of(report: Report, situation: Situation, *, why_not_on_gpu: str | None) -> list[Step]:
    """What a report means: loading, and each GPU.

    `why_not_on_gpu` is why nothing was tried on a GPU, if so.
    """
    name = report.name
    if report.kind == "library":
        return [_loading(report, situation)]
    steps = [_loading(report, situation)] if report.kind == "module" else []
    if steps and steps[0].state != "ok":
        return steps
    if why_not_on_gpu is None and _is_for_cpu(report):
        why_not_on_gpu = "a build for the CPU"
    if why_not_on_gpu is not None:
        skipped = Step(
            name=name, on_gpu=True, state="skipped", code="not-on-gpu", message=why_not_on_gpu
        )
        return [*steps, skipped]
    return [*steps, *_on_gpus(report, situation)]


def not_reached(name: str, *, on_gpu: bool) -> Step:
    """What was left out since something before it hung."""
    message = "left out, since something before it did not answer"
    return Step(name=name, on_gpu=on_gpu, state="skipped", code="not-reached", message=message)


def _loading(report: Report, situation: Situation) -> Step:
    """Whether a library or module could be loaded."""
    asked = report.asked
    version = _value(asked, "version")
    elsewhere = _value(asked, "elsewhere") or ()
    first = next((item for item in asked.answers if item.gpu is None and item.failed), None)
    done = version is not None or _value(asked, "elsewhere") is not None
    of_gpu = first is not None and first.call not in _LOADING and report.kind == "module"
    if (first is not None and not of_gpu) or not done:
        return _failed(report.name, asked, situation)
    return Step(
        name=report.name,
        state="ok",
        message=f"`{version}` loads" if version else "loads",
        version=str(version) if version else None,
        causes=tuple(f"`{LIBRARY_PATH}` brings `{path}`" for path in elsewhere),
    )


def _on_gpus(report: Report, situation: Situation) -> list[Step]:
    """A step for each GPU that was tried."""
    asked = report.asked
    failed = _failure(asked)
    gpus = list(dict.fromkeys(item.gpu for item in asked.answers if item.gpu is not None))
    if failed is None and (gpus or _value(asked, "count")):
        steps = [_gpu_step(report, gpu, situation) for gpu in gpus]
        return _with_the_end(steps, report, situation)
    counted_none = failed is None and asked.ended == "finished"
    if counted_none or _says_no_device(failed):
        return [_no_device(report.name, situation)]
    return [_failed(report.name, asked, situation, on_gpu=True)]


def _says_no_device(answer: Answer | None) -> bool:
    error = known_error(answer.error, answer.said) if answer else None
    return error is not None and error.number == NO_DEVICE


def _gpu_step(report: Report, gpu: int, situation: Situation) -> Step:
    answers = {item.call: item for item in report.asked.answers if item.gpu == gpu}
    wrong, ran = answers.get("wrong"), answers.get("ran")
    capability = answers.get("capability")
    of = f" (compute capability `{capability.value}`)" if capability else ""
    if wrong is not None:
        return Step(
            name=report.name,
            on_gpu=True,
            gpu=gpu,
            state="failed",
            code="wrong-answer",
            message=f"gives a wrong answer{of}",
            causes=(str(wrong.value),),
            hint="the GPU or its driver is faulty; `nvidia-smi -q -d ECC` shows memory errors",
        )
    if ran is not None:
        message = f"{ran.value}{of}"
        return Step(name=report.name, on_gpu=True, gpu=gpu, state="ok", message=message)
    if _says_no_device(_failure(report.asked, gpu)):
        # TensorRT does not count them first.
        return _no_device(report.name, situation)
    return _failed(report.name, report.asked, situation, on_gpu=True, gpu=gpu)


def _with_the_end(steps: list[Step], report: Report, situation: Situation) -> list[Step]:
    """A hang or crash at a GPU of which nothing was answered yet belongs to it."""
    asked = report.asked
    ended = asked.ended != "finished"
    if not ended or any(step.code in {"crashed", "timeout"} for step in steps):
        return steps
    return [*steps, _failed(report.name, asked, situation, on_gpu=True)]


def _no_device(name: str, situation: Situation) -> Step:
    """CUDA sees no GPU: hidden by the user, none there, or one that it ought to see."""
    host = situation.host
    if situation.visible is not None:
        message = f"`{VISIBLE}` is `{situation.visible}`, which leaves no GPU"
        return Step(name=name, on_gpu=True, state="skipped", code="hidden", message=message)
    if not host.gpus:
        return Step(name=name, on_gpu=True, state="skipped", code="no-gpu", message="no GPU to use")
    faults = [item for item in host.findings if KINDS[item.code].fault]
    error = known_error(NO_DEVICE, None)
    return Step(
        name=name,
        on_gpu=True,
        state="failed",
        code=f"cuda-{NO_DEVICE}",
        message=f"CUDA sees no GPU, the driver tells of {len(host.gpus)}",
        causes=tuple(item.message for item in faults),
        hint=_hint_of(faults) or (error.hint if error else None),
    )


def _failed(
    name: str,
    asked: Asked,
    situation: Situation,
    *,
    on_gpu: bool = False,
    gpu: int | None = None,
) -> Step:
    """A step that failed, by the answer that says why, or by how the process ended."""
    answer = _failure(asked, gpu)
    if answer is not None:
        code, message, causes, hint = _by_answer(answer, asked, situation)
    else:
        code, message, causes, hint = _by_ending(asked)
    if situation.library_path:
        causes = (*causes, f"`{LIBRARY_PATH}` is `{situation.library_path}`")
        hint = hint or f"try it without `{LIBRARY_PATH}`"
    return Step(
        name=name,
        on_gpu=on_gpu,
        gpu=gpu,
        state="failed",
        code=code,
        message=message,
        causes=causes,
        hint=hint,
    )


_Why = tuple[str, str, tuple[str, ...], str | None]
"""Code, message, causes and hint."""


def _by_ending(asked: Asked) -> _Why:
    where = f" in `{asked.waiting}`" if asked.waiting else ""
    if asked.ended == "timeout":
        longer = f"`{TIME_LIMIT}={2 * asked.seconds:g}` waits longer"
        return (
            "timeout",
            f"no answer in {asked.seconds:g} s{where}",
            (),
            f"{longer}; a driver that hangs needs a restart",
        )
    return "crashed", f"crashed{where}", (asked.detail,) if asked.detail else (), None


def _by_answer(answer: Answer, asked: Asked, situation: Situation) -> _Why:
    said = answer.said or f"error {answer.error}"
    if answer.call in _LOADING:
        what = "loaded" if answer.call == "dlopen" else "imported"
        return "load-failed", f"cannot be {what}", (said,), _loading_hint(said, situation)
    error = known_error(answer.error, answer.said)
    if error is None:
        code = "failed" if answer.error is None else f"cuda-{answer.error}"
        return code, f"`{answer.call}` failed", (said,), _broken_hint(situation)
    return (
        f"cuda-{error.number}",
        f"`{answer.call}` failed",
        (said, *_facts_about(error.number, answer.gpu, asked, situation)),
        _broken_hint(situation) or error.hint,
    )


def _facts_about(
    number: int, gpu: int | None, asked: Asked, situation: Situation
) -> tuple[str, ...]:
    """What gpuenv knows of the machine that explains an error."""
    if number == INSUFFICIENT_DRIVER:
        cuda = leading_version(str(_value(asked, "cuda") or ""))
        gap = situation.facts.driver_gap(situation.host, cuda) if cuda else None
        return (f"CUDA `{cuda}` {gap.words}",) if gap else ()
    if number == NO_KERNEL_IMAGE:
        own = [item.value for item in asked.answers if (item.call, item.gpu) == ("capability", gpu)]
        return (f"the GPU has compute capability `{own[-1]}`",) if own else ()
    return ()


def _loading_hint(said: str, situation: Situation) -> str | None:
    """What to do where the loader, or an import, refuses."""
    if situation.changed:
        return f"`gpuenv switch {situation.profile}` makes the changed environment again"
    if "GLIBC" in said:
        libc = situation.host.platform.libc
        has = f", this machine has {' '.join(libc)}" if libc else ""
        return f"the library is for a newer C library{has}"
    if any(words in said for words in ("file too short", "invalid ELF", "cannot read file")):
        return "the file is damaged; `gpuenv store verify` looks for more"
    return None


def _broken_hint(situation: Situation) -> str | None:
    """The remedy of what was found to be broken on this machine."""
    return _hint_of(situation.host.broken)


def _hint_of(findings: Iterable[Finding]) -> str | None:
    return next((item.hint for item in findings if item.hint), None)


def _failure(asked: Asked, gpu: int | None = None) -> Answer | None:
    """The first answer, of a GPU or in general, that is a failure."""
    return next((item for item in asked.answers if item.gpu == gpu and item.failed), None)


def _value(asked: Asked, call: str) -> Any:  # noqa: ANN401 - JSON
    """What a call answered, the last time."""
    found = [item.value for item in asked.answers if item.call == call and not item.failed]
    return found[-1] if found else None
