"""Find out what is provisioned for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.host import Host, Target
from provisioner.core.target import (
    apply_overrides,
    apply_short,
    is_short,
    override_variables,
    parse_short,
)
from provisioner.core.target_json import target_from_json, target_to_json
from provisioner.errors import GpuenvError, TargetError, said

if TYPE_CHECKING:
    from provisioner.workflow.world import Options, World

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")

HERE: Final = "here"
"""The target that means this machine, for a project that remembers another one."""


def detect(
    world: World,
    options: Options,
    *,
    remembered: dict[str, Any] | None = None,
    fresh: bool = False,
) -> Target:
    """The target that the user names, else the remembered one, else this machine.

    A fact that a variable overrides counts for this machine, which is then not forgotten
    for a remembered target. `fresh` asks this machine anew.

    Raises:
        TargetError: the target, or an override, is not valid.
    """
    overrides = override_variables(world.variables)
    named = named_target(world, options)
    if remembered is not None and counts(world, options, remembered):
        # The tables judged it when it was named.
        target = target_from_json(remembered, ".gpuenv/state.json")
        return replace(target, python=options.python) if options.python else target
    if named is None or named == HERE:
        target = Target(host=apply_overrides(detect_host(world, fresh=fresh), overrides))
    elif is_short(named):
        short = parse_short(named)
        here = (
            platform_only(world.root) if short.names_gpu_facts else detect_host(world, fresh=fresh)
        )
        target = apply_short(short, here)
    else:
        target = _from_file(_example(named) or world.folder / named)
    target = replace(target, host=_judged(target.host))
    return replace(target, python=options.python) if options.python else target


def _judged(host: Host) -> Host:
    """The host with what the tables say of its driver."""
    from provisioner.adapters.profiles import load_facts
    from provisioner.core.compat import driver_findings

    if host.driver is None and host.platform.kind != "jetson":
        return host
    return driver_findings(host, load_facts())


def named_target(world: World, options: Options) -> str | None:
    """The target that the user names, by option or variable."""
    return options.target or world.variables.get("GPUENV_TARGET") or None


def counts(world: World, options: Options, remembered: dict[str, Any] | None) -> bool:
    """Whether a remembered target is what is provisioned for."""
    named = named_target(world, options)
    return named is None and remembered is not None and not override_variables(world.variables)


def detect_host(world: World, *, fresh: bool = False) -> Host:
    """This machine with its driver and GPUs; `fresh`: whatever is remembered of it.

    Raises:
        TargetError: the root to look at is not there.
        UsageError: the time limit of the probes is not one.
    """
    from provisioner.workflow.probe import probe_or_remember

    return probe_or_remember(world, fresh=fresh)


def platform_only(root: Path = Path("/")) -> Host:
    """This machine without its driver and GPUs."""
    from provisioner.adapters.machine import this_platform

    return Host(platform=this_platform(root), sources=(("platform", "this machine"),))


def save(target: Target, path: Path) -> None:
    """Write a target to a file that `--target` takes.

    Raises:
        GpuenvError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(target_to_json(target), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        message = f"cannot write `{path}`"
        raise GpuenvError(message, causes=(said(error),)) from error


def _example(name: str) -> Path | None:
    """The example host of that name, where it has the form of one: a file is called by a path."""
    from provisioner.adapters.profiles import shipped_folder

    path = shipped_folder() / "hosts" / f"{name}.json"
    return path if _NAME.fullmatch(name) and path.is_file() else None


def _from_file(path: Path) -> Target:
    try:
        if path.exists() and not path.is_file():
            # Reading a pipe or a device may never end.
            message = f"target `{path}` is not valid"
            raise TargetError(message, causes=("it is not a regular file",))
        data = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        message = f"there is no target `{path}`"
        raise TargetError(
            message,
            causes=(said(error),),
            hint="`gpuenv detect --save FILE` writes one, and `v100-h100-r580` is the name of an "
            "example; the short form has `=` in it",
        ) from error
    except (ValueError, RecursionError) as error:
        message = f"target `{path}` is not valid"
        raise TargetError(message, causes=(_not_json(error),)) from error
    return target_from_json(data, str(path))


def _not_json(error: ValueError | RecursionError) -> str:
    """Why a text is no JSON, in words of its own and not of the reader's."""
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            line = error.object.count(b"\n", 0, error.start) + 1
            return f"line {line}: it is not UTF-8"
        case json.JSONDecodeError():
            return f"line {error.lineno}, column {error.colno}: it is not JSON"
        case _:
            return "a number in it is too long"
