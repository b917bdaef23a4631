"""Results as text and JSON. Data goes to stdout, what is said about it to stderr."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provisioner.core.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.host import Target
    from provisioner.errors import GpuenvError
    from provisioner.workflow.doctor import DoctorResult
    from provisioner.workflow.lock import LockResult
    from provisioner.workflow.prepared import Count, PreparedTargets, PrepareResult
    from provisioner.workflow.profiles import ProfilesResult, SelectionsResult, SelectResult
    from provisioner.workflow.status import StatusResult
    from provisioner.workflow.switch import SwitchResult

_GENERATIONS = 10


def envelope(command: str, data: dict[str, Any] | None, error: GpuenvError | None = None) -> str:
    """The one form of `--json` output."""
    errors = []
    if error:
        errors = [
            {
                "code": error.code,
                "message": error.message,
                "causes": list(error.causes),
                "hint": error.hint,
            }
        ]
    return json.dumps(
        {
            "gpuenv": 1,
            "command": command,
            "status": "error" if error else "ok",
            "data": data,
            "errors": errors,
        },
        indent=2,
    )


def render_error(error: GpuenvError) -> str:
    """An error as uv would say it."""
    lines = [f"error: {error.message}"]
    lines += [f"  cause: {cause}" for cause in error.causes]
    if error.hint:
        lines += ["", f"hint: {error.hint}"]
    return "\n".join(lines)


def files_text(files: int, size: int | None = None) -> str:
    """A number of files, and their bytes together, for people."""
    counted = f"{files} {'file' if files == 1 else 'files'}"
    return counted if size is None else f"{counted} ({size_text(size)})"


def render_target(target: Target) -> str:
    """`detect`."""
    host = target.host
    platform = host.platform
    sources = dict(host.sources)

    def source(*facts: str) -> str:
        named = next((sources[fact] for fact in facts if fact in sources), None)
        return f"  ({named})" if named else ""

    libc = f", {' '.join(platform.libc)}" if platform.libc else ""
    lines = [f"platform: {platform.kind} {platform.machine}{libc}"]
    if host.driver is None:
        lines.append(f"driver:   none{source('driver')}")
    else:
        lines.append(f"driver:   {host.driver.version or 'unknown'}{source('driver')}")
        lines.append(f"cuda:     {host.driver.cuda or 'unknown'}{source('cuda', 'driver')}")
    for gpu in host.gpus:
        memory = f", {size_text(gpu.memory_bytes)}" if gpu.memory_bytes else ""
        capability = gpu.compute_capability or "unknown"
        name = f"{gpu.name}, " if gpu.name else ""
        uuid = f", {gpu.uuid}" if gpu.uuid else ""
        status = "" if gpu.status == "ok" else f", {gpu.status}"
        lines.append(
            f"gpu {gpu.index}:    {name}compute capability {capability}{memory}{uuid}{status}"
            f"{source('gpus')}"
        )
    if target.python:
        lines.append(f"python:   {target.python}")
    for finding in host.findings:
        lines.append(f"finding:  {finding.code}: {finding.message}")
        if finding.hint:
            lines.append(f"          hint: {finding.hint}")
    return "\n".join(lines)


def _without_findings(target: Target) -> Target:
    return replace(target, host=replace(target.host, findings=()))


def target_text(data: dict[str, Any]) -> str:
    """A saved target in the short form."""
    driver = data.get("driver") or {}
    gpus = [gpu.get("compute_capability") or "unknown" for gpu in data.get("gpus", [])]
    platform = data.get("platform", {})
    libc = platform.get("libc") or ()
    facts = {
        "driver": driver.get("version") or ("none" if not driver else None),
        "cuda": driver.get("cuda"),
        "gpus": "+".join(gpus) or None,
        "machine": platform.get("machine"),
        **({libc[0]: libc[1]} if libc else {}),
        "python": data.get("python"),
    }
    return ",".join(f"{name}={value}" for name, value in facts.items() if value)


def _for_target(target: dict[str, Any] | None) -> list[str]:
    if target is None:
        return []
    return [f"for the remembered target {target_text(target)} (`--target here` forgets it)"]


def render_selection(result: SelectResult) -> str:
    """`select`."""
    selection = result.selection
    chosen = selection.chosen
    turned = [*chosen.extras, *chosen.groups]
    extras = f" with {', '.join(f'`{name}`' for name in turned)}" if turned else ""
    lines = [*_for_target(result.target), f"{chosen.profile.name}{extras}: {result.why}"]
    data = result.to_json()
    lines += [*render_candidates(data), *_reasons("warning", data["warnings"])]
    return "\n".join(lines)


def render_selections(result: SelectionsResult) -> str:
    """`select` with several targets."""
    return "\n\n".join(f"target {name}\n{render_selection(one)}" for name, one in result.targets)


def render_known(data: dict[str, Any]) -> str:
    """What is known of the candidates where nothing could be chosen, for each target."""
    targets = data.get("targets")
    if targets is None:
        return "\n".join(render_candidates(data))
    lines = []
    for one in targets:
        lines += [f"target {one['name']}", *render_candidates(one)]
    return "\n".join(lines)


def render_candidates(data: dict[str, Any]) -> list[str]:
    """Each profile as chosen, usable or rejected: the rule with its numbers, source and remedy.

    `data` is that of `select --json`, which an error has too.
    """
    from provisioner.core.select import OUT_OF_QUESTION

    candidates = data.get("candidates", [])
    other = [
        item["profile"]
        for item in candidates
        if any(reason["code"] in OUT_OF_QUESTION for reason in item["reasons"])
    ]
    told = [item for item in candidates if item["profile"] not in other]
    width = max((len(item["profile"]) for item in told), default=0)
    lines = []
    for item in told:
        name = item["profile"]
        chosen = name == data["profile"]
        verdict = "chosen" if chosen else "usable" if item["accepted"] else "rejected"
        lines.append(f"  {name:<{width}}  {verdict}")
        of_it = [] if chosen else _reasons("warning", item["warnings"])
        of_it = [*_reasons("because", item["reasons"]), *of_it]
        lines += [f"  {'':<{width}}  {line}" for line in of_it]
    return [*lines, *([f"  not in question here: {', '.join(other)}"] if other else [])]


def _reasons(label: str, reasons: Iterable[dict[str, Any]]) -> list[str]:
    lines = []
    for reason in reasons:
        lines.append(f"  {label}: {reason['message']}")
        lines += [f"    rule: {reason['source']}"] if reason["source"] else []
        lines += [f"    hint: {reason['hint']}"] if reason["hint"] else []
    return lines


def render_profiles(result: ProfilesResult) -> str:
    """`profiles`."""
    width = max((len(item.name) for item in result.profiles), default=0)
    lines = _for_target(result.target)
    for item in result.profiles:
        verdict = "fits" if item.accepted else "; ".join(item.reasons)
        lines.append(f"{item.name:<{width}}  {verdict}")
        lines.append(f"{'':<{width}}  {item.origin}")
    return "\n".join(lines)


def render_lock(result: LockResult) -> str:
    """`lock`."""
    lines = [f"{name}: {path}" for name, path in result.locks]
    for path, changes in result.changes:
        lines += [f"changed `{path}`", *(f"  {change}" for change in changes)] if changes else []
    return "\n".join([*lines, *_substitutions(result.substitutions)])


def render_prepare(result: PrepareResult) -> str:
    """`prepare`."""
    extras = f" (with {', '.join(f'`{n}`' for n in result.extras)})" if result.extras else ""
    lines = [*_for_target(result.target), f"chose {result.profile}{extras}: {result.why}"]
    if not result.nothing_to_do:  # It was said when it was done, and `select` says it again.
        lines += _indented("rejected", result.rejected)
    lines += _indented("warning", result.warnings)
    lines += _substitutions(result.substitutions)
    if result.free_bytes is not None:
        lines += [f"would prepare {', '.join(result.prepared)}"]
        lines += [
            f"  fetch {name} ({size_text(size) if size is not None else 'size unknown'})"
            for name, size in result.missing
        ]
        lines.append(
            f"would fetch {_missing(result)}, "
            f"{_count(result.reused)} are held in {result.store}, "
            f"{size_text(result.free_bytes)} are free there"
        )
        lines += [_room(room) for room in result.room]
        return "\n".join(lines)
    if result.nothing_to_do:
        lines.append(f"{', '.join(result.prepared)}: prepared already, nothing to do")
    else:
        done = "prepared" if result.environment else "fetched only, for"
        seeds = f", each with {', '.join(result.seed)}" if result.seed else ""
        lines.append(f"{done} {', '.join(result.prepared)}{seeds}")
    lines.append(
        f"fetched {_fetched(result)}, reused {_count(result.reused)}; store: {result.store}"
    )
    if result.imported is not None:
        lines.append(f"took {_count(result.imported)} from the bundle, the rest was held")
    names = [proof.name for proof in result.proof]
    lines += [
        *result.notes,
        *(proof.text(in_full=names.count(proof.name) > 1) for proof in result.proof),
    ]
    if result.active:
        stays = ", which you switched to, stays" if result.kept else " is"
        lines.append(
            f"{result.active}{stays} active (generation {result.generation}): {result.link}"
        )
    if result.kept:
        lines.append(f"\nhint: `gpuenv switch {result.profile}` activates the choice")
    return "\n".join(lines)


def _substitutions(substitutions: Iterable[Mapping[str, Any]]) -> list[str]:
    """What stub source distributions stand for."""
    return [
        f"  `{one['name']}` {one['version']} stands for `{one['wheel']}` "
        f"({size_text(one['bytes']) if one['bytes'] is not None else 'size unknown'}) "
        f"on {one['index']}"
        for one in substitutions
    ]


def _fetched(result: PrepareResult) -> str:
    """What was fetched: more than what locks name, where something had to be built."""
    text = _count(result.fetched)
    if not result.build_files:
        return text
    return f"{text.removesuffix(')')}, {result.build_files} of them to build with)"


def _missing(result: PrepareResult) -> str:
    """The files that would be fetched, their bytes, and how many of these are there."""
    sizes = [size for _, size in result.missing]
    if not sizes:
        return files_text(0)
    facts = [_amount(sum(size or 0 for size in sizes), sizes.count(None))]
    facts += [f"{size_text(result.arrived)} of it are there"] if result.arrived else []
    return f"{files_text(len(sizes))} ({', '.join(facts)})"


def _amount(size: int, unknown: int, about: str = "") -> str:
    """Bytes, where they are a sum without those that are unknown."""
    if not unknown:
        return f"{about}{size_text(size)}"
    return f"at least {size_text(size)}" if size else "an unknown number of bytes"


def _room(room: Mapping[str, Any]) -> str:
    """What is needed and free on a file system."""
    kind = f" ({room['type']})" if room["type"] else ""
    needs = room["needs"]
    parts = [f"{_amount(need['bytes'], need['unknown_sizes'])} {need['what']}" for need in needs]
    unknown = sum(need["unknown_sizes"] for need in needs)
    text = (
        f"  on {room['file_system']}{kind}: {_amount(room['needed_bytes'], unknown, 'about ')} "
        f"({', '.join(parts)}) of {size_text(room['free_bytes'])} free"
    )
    if room["free_inodes"] is None:
        return text
    return f"{text}, about {room['needed_inodes']} of {room['free_inodes']} inodes"


def render_prepared_targets(result: PreparedTargets) -> str:
    """`prepare` with several targets."""
    return "\n\n".join(f"target {name}\n{render_prepare(one)}" for name, one in result.targets)


def render_switch(result: SwitchResult) -> str:
    """`switch` and `rollback`."""
    lines = []
    if result.renewed:
        lines.append(
            f"the environment of {result.to} had been changed; it was made again "
            "with 0 bytes from the network"
        )
    if result.changed and result.was == result.to:
        lines.append(f"{result.to} is active (generation {result.generation})")
    elif result.changed:
        lines.append(f"{result.was or 'nothing'} -> {result.to} (generation {result.generation})")
    else:
        lines.append(f"{result.to} is active already (generation {result.generation})")
    if result.drifted:
        lines.append("warning: the environment was changed since it was made")
    if result.outdated:
        lines.append(
            "warning: the environment was made from an older lock; `gpuenv prepare` makes a new one"
        )
    if result.activated:
        lines.append(
            "warning: this shell has another environment activated; activate `.venv` again"
        )
    return "\n".join(lines)


def render_status(result: StatusResult, *, history: bool = False) -> str:
    """`status`, on request with all that is known of each generation."""
    from provisioner.core.drift import drift_text
    from provisioner.workflow.status import MAKES_OWN, hint_for

    warning = f"warning: {result.warning}\n" if result.warning else ""
    if result.active is None:
        hint = MAKES_OWN if warning else "`gpuenv prepare` comes first"
        return f"nothing is prepared here\n{warning}\nhint: {hint}"
    how = "chosen automatically" if result.automatic else "chosen by hand"
    whose = f" of `{result.member}`" if result.member else ""
    lines = [f"{result.active}{whose} is active (generation {result.generation}, {how})"]
    for name, path, condition in result.prepared:
        lines.append(f"  {name}: {condition}, {path}")
        if changes := drift_text(result.changes.get(path, ())):
            lines.append(f"    {changes}")
        if condition in {"changed", "outdated", "damaged", "broken"}:
            lines.append(f"    hint: {hint_for(name, condition)}")
    if history:
        lines += _history(result)
    else:
        lines += [
            f"  generation {item.number}: {item.prepared.profile}"
            for item in result.generations[-_GENERATIONS:]
        ]
    if result.target:
        lines.append(f"target: {target_text(result.target)}; `--target here` forgets it")
    return "\n".join(lines)


def _history(result: StatusResult) -> Iterable[str]:
    """Every generation: number, local time, profile, whether it is active, and environment."""
    from datetime import UTC, datetime

    width = max(len(item.prepared.profile) for item in result.generations)
    digits = len(str(max(item.number for item in result.generations)))
    for item in result.generations:
        time = datetime.fromtimestamp(item.time, UTC).astimezone()
        mark = "active" if item.number == result.generation else ""
        yield (
            f"  generation {item.number:>{digits}}  {time.isoformat(' ', 'seconds')}  "
            f"{item.prepared.profile:<{width}}  {mark:<6}  {item.prepared.environment}"
        )


def render_doctor(result: DoctorResult) -> str:
    """`doctor`: the host, then every check with its remedy, then what was chosen among."""
    lines = [*_for_target(result.remembered), render_target(_without_findings(result.target)), ""]
    width = max(len(check.name) for check in result.checks)
    for check in result.checks:
        lines.append(f"{check.state:<7}  {check.name:<{width}}  {check.message}")
        indent = f"{'':<7}  {'':<{width}}  "
        lines += [f"{indent}cause: {cause}" for cause in check.causes]
        lines += [f"{indent}hint: {check.hint}"] if check.hint else []
    if result.selected:
        lines += ["", "profiles", *render_candidates(result.selected.to_json())]
    return "\n".join(lines)


def _indented(label: str, lines: Iterable[str]) -> list[str]:
    return [f"  {label}: {line}" for line in lines]


def _count(count: Count) -> str:
    return files_text(count.files, count.bytes)
