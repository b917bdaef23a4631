"""The results of `gpuenv store` as text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from provisioner.cli.render import files_text
from provisioner.core.sizes import size_text
from provisioner.workflow.store_gc import KINDS

if TYPE_CHECKING:
    from provisioner.adapters.inventory import Usage
    from provisioner.adapters.roots import Pin
    from provisioner.workflow.store_export import ExportResult
    from provisioner.workflow.store_gc import GcResult, Kind
    from provisioner.workflow.store_import import ImportResult
    from provisioner.workflow.store_list import InfoResult, ListResult
    from provisioner.workflow.store_pin import ForgetResult, PinResult
    from provisioner.workflow.store_verify import VerifyResult

_ONE: dict[Kind, str] = {
    "blobs": "file",
    "environments": "environment",
    "layers": "layer",
    "partial": "partial download",
    "pages": "index page",
    "other": "leftover",
}


def render_list(result: ListResult) -> str:
    """`store list`."""
    lines = []
    for file in result.files:
        name = file.names[0] if file.names else file.digest.hex
        pinned = ", pinned" if file.pinned else ""
        fetched = f", fetched {_day(file.fetched)}" if file.fetched else ""
        lines.append(f"{name}  ({size_text(file.size)}{fetched}{pinned})")
        lines.append(f"  sha256: {file.digest}")
        lines += [f"  also: {other}" for other in file.names[1:]]
        lines += [f"  from: {url}" for url in file.urls]
        lines += [f"  built here from: {file.source}"] if file.source else []
        lines += [f"  in: {file.below}"] if file.below else []
        lines += [f"  used by: {project}" for project in file.projects]
    places: dict[str, list[int]] = {result.store: []}
    for file in result.files:
        places.setdefault(file.below or result.store, []).append(file.size)
    lines += [f"{files_text(len(sizes), sum(sizes))} in {where}" for where, sizes in places.items()]
    return "\n".join(lines)


def render_info(result: InfoResult) -> str:
    """`store info`."""
    lines = [f"store: {result.store}"]
    lines += [f"  {name:<13} {_usage(used)}" for name, used in result.parts.items()]
    lines.append(f"  {'total':<13} {_usage(result.total)}")
    lines.append(f"  {'free':<13} {size_text(result.free)}")
    for project in result.projects:
        where = "" if project.whereabouts == "here" else f" ({project.whereabouts})"
        lines.append(f"project: {project.home}{where}")
        lines.append(f"  {'files':<13} {_usage(project.blobs)}")
        lines.append(f"  {'environments':<13} {_usage(project.environments)}")
        if project.below.files:
            lines.append(f"  {'below':<13} {_usage(project.below)}")
    for lower in result.lower:
        lines.append(f"lower store: {lower.store}")
        lines.append(f"  {'files':<13} {_usage(lower.blobs)}")
        lines.append(f"  {'needed':<13} {_usage(lower.needed)}")
    if result.unneeded.files:
        unneeded = files_text(result.unneeded.files, result.unneeded.bytes)
        lines.append(f"needed by nobody: {unneeded}; `gpuenv store gc` removes that")
    return "\n".join(lines)


def render_verify(result: VerifyResult) -> str:
    """`store verify`."""
    hashed = f", hashed {files_text(result.hashed, result.size)}"
    lines = [f"verified {files_text(result.checked)}{hashed}"]
    if result.environments:
        count = result.environments
        named = f"{count} {'environment' if count == 1 else 'environments'}"
        lines.append(f"verified {named} with {files_text(result.installed)}")
    # What is still damaged is told as the failure.
    again = "removed, `gpuenv prepare` makes it again"
    lines += [
        f"  {item.message}; {again if item.built and item.fault != 'writable' else 'repaired'}"
        for item in result.damage
        if item.repaired
    ]
    for spoiled in result.spoiled:
        if spoiled.repaired:
            lines += [f"  {cause}" for cause in spoiled.causes]
            mended = ", and uv's cache mended" if spoiled.is_shared else ""
            lines.append(f"  {spoiled.name} was made again{mended}")
    lines += [f"  {note}; removed" for note in result.notes if result.notes_repaired]
    if not (result.damage or result.notes or result.spoiled):
        lines.append("nothing is damaged")
    if result.absent:
        hint = "`gpuenv prepare` in the projects that need them fetches them"
        if any(item.below for item in result.absent):
            hint += ", `GPUENV_STORE_LOWER` names lower stores"
        lines += [f"note: {item.message}" for item in result.absent]
        lines.append(f"note: {hint}")
    return "\n".join(lines)


def render_gc(result: GcResult) -> str:
    """`store gc`."""
    did = "would remove" if result.dry_run else "removed"
    lines = [f"  {_ONE[item.kind]} {item.label}" for item in result.removals]
    counted = []
    for kind in KINDS:
        count, size = result.of(kind)
        if count:
            word = _ONE[kind] if count == 1 else f"{_ONE[kind]}s"
            counted.append(f"{count} {word} ({size_text(size)})")
    lines.insert(0, f"{did} {', '.join(counted) or 'nothing'}")
    frees = "that would free" if result.dry_run else "that freed"
    stay = "would stay" if result.dry_run else "stay"
    lines.append(f"{frees} {size_text(result.freed)}; {size_text(result.kept)} {stay}")
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])


def render_pins(result: PinResult) -> str:
    """`store pin`."""
    if result.changed:
        did = "unpinned" if result.removed else "pinned"
        return "\n".join(f"{did} {_pin(pin)}" for pin in result.changed)
    return "\n".join(_pin(pin) for pin in result.pins) or "nothing is pinned"


def render_export(result: ExportResult) -> str:
    """`store export`."""
    blobs = files_text(result.blobs.files, result.blobs.bytes)
    lines = [f"exported {blobs} of {result.name} to {result.bundle} ({size_text(result.size)})"]
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])


def render_import(result: ImportResult) -> str:
    """`store import`."""
    came = files_text(result.imported.files, result.imported.bytes)
    held = files_text(result.held.files, result.held.bytes)
    lines = [f"imported {came} of {result.name}; {held} held already"]
    if result.pin:
        end = f"`gpuenv store pin --remove {result.pin}` ends that"
        lines.append(f"pinned as {result.pin}: `store gc` leaves it; {end}")
    return "\n".join(lines)


def render_forgotten(result: ForgetResult) -> str:
    """`store forget`."""
    return "\n".join(
        f"forgot that `{seen.name}` of {seen.index} had sha256 `{seen.digest}`"
        for seen in result.forgotten
    )


def _pin(pin: Pin) -> str:
    if pin.kind != "file":
        return f"{pin.kind} {pin.label} ({files_text(len(pin.digests))})"
    return f"{pin.label} (sha256 {next(iter(pin.digests))})"


def _usage(used: Usage) -> str:
    shared = (
        f", {size_text(used.shared)} of them have other links, as in uv's cache"
        if used.shared
        else ""
    )
    return f"{files_text(used.files, used.bytes)}{shared}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
