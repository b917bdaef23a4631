"""Known profiles, where each is from, and which of them the target can run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provisioner.adapters.state import StateFolder
from provisioner.core.select import Candidate, Selection, explain, selection_data
from provisioner.errors import SelectionError
from provisioner.workflow.choose import Judged, judge_profiles
from provisioner.workflow.detect import counts, detect
from provisioner.workflow.place import place_of

if TYPE_CHECKING:
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRow:
    """One profile."""

    name: str
    cuda: str | None
    origin: str
    accepted: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfilesResult:
    """Every profile, best first."""

    profiles: tuple[ProfileRow, ...]
    target: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of `profiles --json`."""
        return {
            "target": self.target,
            "profiles": [
                {
                    "name": item.name,
                    "cuda": item.cuda,
                    "origin": item.origin,
                    "accepted": item.accepted,
                    "reasons": list(item.reasons),
                }
                for item in self.profiles
            ],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectResult:
    """A selection, and in one line why."""

    selection: Selection
    why: str
    target: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of `select --json`."""
        data = selection_data(self.selection.candidates, self.selection.warnings, self.selection)
        return {**data, "target": self.target}


def list_profiles(world: World, options: Options) -> ProfilesResult:
    """Judge every profile for the target and project."""
    judged, target = _judged(world, options)
    return ProfilesResult(
        profiles=tuple(_row(candidate) for candidate in judged.candidates), target=target
    )


def choose_profile(world: World, options: Options) -> SelectResult:
    """Choose a profile.

    Raises:
        SelectionError: nothing fits.
    """
    judged, target = _judged(world, options)
    return select_result(judged, judged.select(options), options, target)


def select_result(
    judged: Judged, selection: Selection, options: Options, target: dict[str, Any] | None
) -> SelectResult:
    """A selection with its reason; `target` is the remembered one that it is for, if so."""
    why = explain(
        selection.chosen, judged.target.host, judged.facts, forced=options.profile is not None
    )
    return SelectResult(selection=selection, why=why, target=target)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionsResult:
    """A selection for each of several targets."""

    targets: tuple[tuple[str, SelectResult], ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `select --json` with several targets."""
        return {"targets": [{**one.to_json(), "name": name} for name, one in self.targets]}


def choose_for_targets(world: World, options: Options) -> SelectionsResult:
    """Choose a profile for each of several targets.

    Raises:
        SelectionError: nothing fits one of them; the data has what is known of all.
    """
    chosen: list[tuple[str, SelectResult]] = []
    causes: list[str] = []
    data: list[dict[str, Any]] = []
    for name in options.targets:
        try:
            found = choose_profile(world, replace(options, target=name, targets=()))
        except SelectionError as error:
            causes += [f"`{name}`: {cause}" for cause in (error.causes or (error.message,))]
            data.append({**(error.data or {}), "target": None, "name": name})
        else:
            chosen.append((name, found))
            data.append({**found.to_json(), "name": name})
    if causes:
        message = "not every target has a profile that fits"
        raise SelectionError(message, causes=tuple(causes), data={"targets": data})
    return SelectionsResult(targets=tuple(chosen))


def _judged(world: World, options: Options) -> tuple[Judged, dict[str, Any] | None]:
    """The verdicts, and the remembered target if it is what they are about."""
    place = place_of(world, options)
    remembered = StateFolder(place.home).read().target
    target = detect(world, options, remembered=remembered)
    judged = judge_profiles(world, place, target, options)
    return judged, remembered if counts(world, options, remembered) else None


def _row(candidate: Candidate) -> ProfileRow:
    profile = candidate.profile
    return ProfileRow(
        name=profile.name,
        cuda=str(profile.cuda) if profile.cuda else None,
        origin=profile.origin,
        accepted=candidate.accepted,
        reasons=tuple(reason.message for reason in candidate.reasons),
    )
