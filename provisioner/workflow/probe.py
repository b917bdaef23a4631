"""Ask this machine for its driver and GPUs, one layer after the other, in limited time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.findings import FAULTS
from provisioner.core.host import Host, Target
from provisioner.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.adapters._child import Limit, Ran
    from provisioner.core.evidence import Asked, Evidence
    from provisioner.core.host import Platform
    from provisioner.workflow.world import World

_SECONDS: Final = 5.0
_LONGEST: Final = 24 * 3600
_LONGEST_WITHOUT_GPU: Final = 600
"""Seconds for which an answer is remembered at most."""
_LIMIT: Final = "GPUENV_PROBE_TIMEOUT"
_MOST_SECONDS: Final = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A host, and the libraries and programs that told of it."""

    host: Host
    used: tuple[str, ...]


def probe_seconds(variables: Mapping[str, str]) -> float:
    """How long all probes together may take.

    Raises:
        UsageError: the variable is not a number of seconds, up to an hour.
    """
    return seconds_from(variables, _LIMIT, _SECONDS)


def seconds_from(variables: Mapping[str, str], name: str, default: float) -> float:
    """The time limit that a variable sets.

    Raises:
        UsageError: it is not a number of seconds, up to an hour.
    """
    text = variables.get(name, "").strip()
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST_SECONDS:
        message = f"`{name}` is not a number of seconds"
        more = f", more than `{_MOST_SECONDS}`" if _MOST_SECONDS < seconds < math.inf else ""
        raise UsageError(message, causes=(f"it is `{text}`{more}",), hint=f"`{name}={default:g}`")
    return seconds


def probe_or_remember(world: World, *, fresh: bool = False) -> Host:
    """The machine as it was found when nothing was different, else as it is found now.

    `fresh` asks it in any case, and remembers the answer.

    Raises:
        TargetError: the root to look at is not there.
        UsageError: the time limit is not one.
    """
    from provisioner.adapters.host_cache import HostCache, cache_folder, fingerprint

    if not world.root.is_dir():
        message = f"`GPUENV_ROOT`: there is no folder `{world.root}`"
        raise TargetError(message)
    # A limit that is none is told of, whether or not it is needed.
    probe_seconds(world.variables)
    cache = HostCache(cache_folder(world.variables, world.home))
    kept = None if fresh else cache.read()
    if kept and (host := still_holds(world, kept)):
        return host
    from provisioner.adapters.machine import this_platform
    from provisioner.core.target_json import target_to_json

    before = fingerprint(world.root, world.variables, ())
    found = probe(world, this_platform(world.root))
    seen = fingerprint(world.root, world.variables, found.used)
    same = {key: seen[key] for key in before if key not in _OF_USED} == {
        key: before[key] for key in before if key not in _OF_USED
    }
    if same and not any(finding.code in FAULTS for finding in found.host.findings):
        data = target_to_json(Target(host=found.host))
        cache.write({"made": world.now(), "used": found.used, "fingerprint": seen, "host": data})
    elif kept or fresh:
        cache.forget()
    return found.host


_OF_USED: Final = frozenset({"used", "program"})
"""What is known only after the probes."""


def still_holds(world: World, kept: dict[str, Any]) -> Host | None:
    """The host that was kept, if it still holds."""
    from provisioner.adapters.host_cache import fingerprint
    from provisioner.core.target_json import target_from_json

    try:
        host = target_from_json(kept["host"], "host.json").host
        sources = tuple((str(fact), str(name)) for fact, name in kept["host"]["sources"].items())
        age = world.now() - kept["made"]
        used = tuple(str(path) for path in kept["used"])
    except (KeyError, TypeError, AttributeError, TargetError):
        return None
    told = any(gpu.compute_capability for gpu in host.gpus)
    if not 0 <= age < (_LONGEST if host.driver and told else _LONGEST_WITHOUT_GPU):
        return None
    if fingerprint(world.root, world.variables, used) != kept.get("fingerprint"):
        return None
    return replace(host, sources=sources)


def probe(world: World, platform: Platform) -> Probed:
    """Ask every layer that is needed.

    Raises:
        UsageError: the time limit is not one.
    """
    from provisioner.adapters._child import Limit
    from provisioner.core.detection import combine

    limit = Limit(probe_seconds(world.variables), world.progress.note)
    evidence = _gather(world, platform, limit)
    asked = (evidence.nvml, evidence.libcuda)
    paths = [path for one in asked if one for path in (one.library, one.libcuda) if path]
    paths += [evidence.smi.path] if evidence.smi else []
    return Probed(host=combine(evidence), used=tuple(dict.fromkeys(paths)))


def _gather(world: World, platform: Platform, limit: Limit) -> Evidence:
    from provisioner.adapters.driver_files import read_driver_files
    from provisioner.adapters.driver_libraries import read_note
    from provisioner.adapters.nvidia_smi import ask_smi, find_smi
    from provisioner.core.evidence import Evidence
    from provisioner.core.readings import read_nvml

    files = read_driver_files(world.root)
    evidence = Evidence(platform=platform, files=files)
    if platform.system != "linux":
        return evidence
    nvml = _ask_nvml(world, platform, limit)
    evidence = replace(evidence, nvml=nvml, note=read_note(nvml.libcuda))
    if nvml.ended == "timeout":
        # Whatever else asks the driver would hang too.
        return evidence
    reading = read_nvml(nvml)
    if reading.gpus is None and files.gpus:
        evidence = _with_information(world, evidence, limit)
    if limit.left == 0:
        return evidence
    reachable = reading.started or files.reachable or platform.kind == "jetson"
    if reading.cuda is None and reachable:
        libcuda = _ask_libcuda(world, platform, limit)
        note = evidence.note or read_note(libcuda.libcuda)
        evidence = replace(evidence, libcuda=libcuda, note=note)
    program = find_smi(world.variables, world.root, platform)
    if reading.version is None and program and limit.left:
        evidence = replace(evidence, smi=ask_smi(program, world.variables, limit))
    return evidence


def _with_information(world: World, evidence: Evidence, limit: Limit) -> Evidence:
    """Add what the driver's files say of each GPU."""
    from provisioner.adapters.driver_files import information_path

    paths = {gpu: str(information_path(world.root, gpu.address)) for gpu in evidence.files.gpus}
    asked = _ask(world, "driver_files", "the driver", [list(paths.values())], limit)
    texts = {answer.call: answer.value for answer in asked.answers}
    gpus = tuple(replace(gpu, information=texts.get(path)) for gpu, path in paths.items())
    return replace(evidence, files=replace(evidence.files, gpus=gpus), information=asked)


def _ask_nvml(world: World, platform: Platform, limit: Limit) -> Asked:
    from importlib.util import find_spec

    from provisioner.adapters.driver_libraries import library_candidates
    from provisioner.adapters.libcuda import LIBRARY as LIBCUDA
    from provisioner.adapters.nvml import LIBRARY
    from provisioner.core.evidence import Asked

    binding = find_spec("pynvml")
    if binding is None or binding.origin is None:
        return Asked(ended="crashed", detail="a missing `nvidia-ml-py`", seconds=limit.seconds)
    candidates = [library_candidates(name, world.root, platform) for name in (LIBRARY, LIBCUDA)]
    folder = Path(binding.origin).parent
    # An older distribution of the same name is a package, not a module.
    packages = folder.parent if binding.submodule_search_locations else folder
    return _ask(world, "nvml", "NVML", candidates, limit, packages)


def _ask_libcuda(world: World, platform: Platform, limit: Limit) -> Asked:
    from provisioner.adapters.driver_libraries import library_candidates
    from provisioner.adapters.libcuda import LIBRARY

    candidates = [library_candidates(LIBRARY, world.root, platform)]
    return _ask(world, "libcuda", f"`{LIBRARY}`", candidates, limit)


def _ask(
    world: World,
    probe_name: str,
    spoken: str,
    candidates: list[list[str]],
    limit: Limit,
    *packages: Path,
) -> Asked:
    """Run one of the probes, and read its lines."""
    from provisioner.adapters._child import python_command, run
    from provisioner.core.evidence import read_lines, split_lines

    def waiting(written: bytearray) -> str:
        call = read_lines(split_lines(bytes(written))).waiting
        return f"{spoken}: {call}" if call else spoken

    given = json.dumps([limit.seconds, *candidates])
    command = python_command(f"provisioner.adapters.{probe_name}", packages, given)
    ran = run(command, world.variables, limit, waiting)
    return read_answers(ran, limit.seconds)


def read_answers(ran: Ran, seconds: float) -> Asked:
    """What a child answered that had so many seconds, and how it ended."""
    import signal

    from provisioner.core.evidence import read_lines, split_lines

    asked = replace(read_lines(split_lines(ran.output)), seconds=seconds)
    if ran.timed_out:
        return replace(asked, ended="timeout")
    if ran.code == 0:
        return replace(asked, waiting=None)
    detail = asked.detail or ran.detail or f"exit status {ran.code}"
    if ran.code is not None and ran.code < 0:
        detail = f"signal {signal.Signals(-ran.code).name}"
    return replace(asked, ended="crashed", detail=detail)
