"""Choose a profile for a target and a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.adapters.profiles import (
    load_facts,
    load_profiles,
    profile_files,
    profile_folders,
    shipped_folder,
)
from provisioner.core.select import Candidate, Selection, consider, select

if TYPE_CHECKING:
    from provisioner.adapters.projects import Place
    from provisioner.core.facts import Facts
    from provisioner.core.host import Target
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Every profile with its verdict for one target and project."""

    target: Target
    facts: Facts
    candidates: tuple[Candidate, ...]

    def select(self, options: Options) -> Selection:
        """Choose one.

        Raises:
            ProfileError: the named profile is not known.
            SelectionError: nothing fits, or the named profile does not.
        """
        return select(
            self.candidates,
            self.target.host,
            self.facts,
            forced=options.profile,
            obey=options.force,
        )


def judge_profiles(world: World, place: Place, target: Target) -> Judged:
    """Read the profiles and tables, and judge every profile.

    Raises:
        ProfileError: a profile is not valid.
    """
    project = place.home if place.manifest else None
    folders = profile_folders(project, world.variables, world.home)
    facts = load_facts(shipped_folder() / "facts")
    candidates = consider(
        load_profiles(profile_files(folders)),
        target.host,
        facts,
        place.manifest.defined if place.manifest else None,
    )
    return Judged(target=target, facts=facts, candidates=candidates)
