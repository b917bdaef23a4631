"""Choose a profile for a target and a project."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from provisioner.adapters.profiles import (
    load_artefact_facts,
    load_facts,
    load_profiles,
    profile_files,
    profile_folders,
)
from provisioner.core.judge import Reason, judge
from provisioner.core.policy import counted
from provisioner.core.select import (
    Candidate,
    Selection,
    consider,
    leaving_out,
    out_of_question,
    select,
    with_artefacts,
)
from provisioner.errors import GpuenvError, SelectionError, ToolError
from provisioner.workflow.locks import lock_text, locked_by_uv

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from provisioner.adapters.projects import Place
    from provisioner.core.artefact_facts import ArtefactFacts
    from provisioner.core.artefacts import Gap
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Target
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.version import DottedVersion
    from provisioner.workflow.pythons import Search
    from provisioner.workflow.world import Options, World

_TORCH = re.compile(r"torch(?![A-Za-z0-9._-])", re.IGNORECASE)
_LINE_MAKERS = frozenset({"torch"})
"""Packages for whose sake a project has CUDA lines: one that cannot run rejects the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Every profile with its verdict for one target and project.

    `locks` are the texts of the locks that had to be read for it, by profile; `python` is what
    `find_interpreter` found, where it had to be asked. `remedy` is what a project with PyTorch
    can do where none of its lines fits.
    """

    target: Target
    facts: Facts
    candidates: tuple[Candidate, ...]
    locks: Mapping[str, str] = field(default_factory=dict)
    python: tuple[Interpreter, str | None] | None = None
    remedy: str | None = None
    place: Place | None = None

    def select(self, options: Options) -> Selection:
        """Choose one.

        Raises:
            ProfileError: the named profile is not known.
            SelectionError: nothing fits, or the named profile does not.
            GpuenvError: the project has its CUDA lines where they cannot be read.
        """
        if options.profile is None:
            self._refuse_unread()
        try:
            return select(
                self.candidates,
                self.target.host,
                self.facts,
                forced=options.profile,
                obey=options.force,
                policy=options.gpu_policy,
            )
        except SelectionError as error:
            if self.remedy and not self.target.host.broken:
                error.hint = "; ".join(filter(None, (self.remedy, error.hint)))
            raise

    def _refuse_unread(self) -> None:
        from provisioner.core.other_tools import refuse_unread

        if self.place is None or self.place.manifest is None:
            return
        manifest = self.place.manifest
        lines = [item.profile for item in self.candidates if item.profile.cuda is not None]
        refuse_unread(
            manifest.elsewhere,
            manifest.extras | manifest.groups,
            (name for profile in lines for name in profile.extras),
            str(self.place.folder / "pyproject.toml"),
        )


def judge_profiles(  # noqa: PLR0913 - everything that they are judged by
    world: World,
    place: Place,
    target: Target,
    options: Options,
    *,
    anew: bool = False,
    search: Search | None = None,
) -> Judged:
    """Read the profiles and tables, and judge every profile and what it would install.

    `search` is where the Python is looked for already.

    `anew`: not by the locks that gpuenv makes, since they are going to be made again.

    Raises:
        ProfileError: a profile is not valid.
        UsageError: the policy names a GPU that is not there.
    """
    project = place.home if place.manifest else None
    folders = profile_folders(project, world.variables, world.home)
    facts = load_facts()
    candidates = consider(
        load_profiles(profile_files(folders)),
        target.host,
        facts,
        place.manifest.defined if place.manifest else None,
        options.gpu_policy,
    )
    judged = Judged(target=target, facts=facts, candidates=candidates)
    lines = [item for item in candidates if item.accepted and item.profile.cuda is not None]
    cuda = None
    if not lines and place.manifest is not None and target.host.gpus:
        # A project without CUDA lines has its GPU packages in what it always installs.
        lines = [item for item in candidates if item.accepted]
        cuda = _newest_line(candidates, judged, options)
    if lines and (cuda is not None or lines[0].profile.cuda is not None):
        judged = _Artefacts(world, place, judged, options, search, anew=anew).judge(lines, cuda)
    return replace(judged, remedy=_remedy(place, judged, options), place=place)


def _remedy(place: Place, judged: Judged, options: Options) -> str | None:
    """Where there are builds of PyTorch for the GPUs, if the project has none that fits."""
    from provisioner.core.artefacts import torch_remedy

    manifest = place.manifest
    lines = [item for item in judged.candidates if item.profile.cuda and not out_of_question(item)]
    if manifest is None or not lines or any(item.accepted for item in lines):
        return None
    asked = manifest.requirements(manifest.extras, manifest.groups, ())
    if not any(_TORCH.match(text) for text in asked):
        return None
    host = judged.target.host
    tables = load_artefact_facts()
    interpreter = judged.python[0] if judged.python else None
    gpus = counted(options.gpu_policy, host.gpus)
    return torch_remedy(host, gpus, judged.facts, tables, interpreter)


def _newest_line(
    candidates: tuple[Candidate, ...], judged: Judged, options: Options
) -> DottedVersion | None:
    """The newest CUDA line that the host runs, whatever the project defines."""
    host, facts, policy = judged.target.host, judged.facts, options.gpu_policy
    return next(
        (
            item.profile.cuda
            for item in candidates
            if item.profile.cuda and not judge(item.profile, host, facts, policy).reasons
        ),
        None,
    )


class _Artefacts:
    """Judges what the accepted CUDA profiles would install."""

    def __init__(  # noqa: PLR0913 - as above
        self,
        world: World,
        place: Place,
        judged: Judged,
        options: Options,
        search: Search | None,
        *,
        anew: bool,
    ) -> None:
        self._anew = anew and not locked_by_uv(place)
        self._world = world
        self._place = place
        self._judged = judged
        self._options = options
        self._locks: dict[str, str] = {}
        self._cuda: DottedVersion | None = None
        self._python = self._find_python(search)
        self._interpreter = self._python[0] if self._python else None

    def judge(self, lines: list[Candidate], cuda: DottedVersion | None) -> Judged:
        """Judge some candidates; `cuda` is the line of those that name none."""
        self._cuda = cuda
        # uv reads the locks beside each other, and beside our tables.
        with ThreadPoolExecutor(len(lines)) as pool:
            texts = {
                item.profile.name: pool.submit(
                    lock_text, self._world, self._place, item, self._interpreter
                )
                for item in lines
                if not self._anew
            }
            artefact_facts = load_artefact_facts()
            return replace(
                self._judged,
                candidates=tuple(
                    self._judge(candidate, texts.get(candidate.profile.name), artefact_facts)
                    if candidate in lines
                    else candidate
                    for candidate in self._judged.candidates
                ),
                locks=self._locks,
                python=self._python,
            )

    def _find_python(self, search: Search | None) -> tuple[Interpreter, str | None] | None:
        """The target's Python, as far as it can be told; which one is missing is said later."""
        from provisioner.adapters.uv import find_uv
        from provisioner.workflow.pythons import find_interpreter

        try:
            if search:
                return search.found.result()
            program = find_uv(self._world.variables)
            return find_interpreter(self._world, self._place, self._judged.target, program)
        except ToolError:
            return None

    def _judge(
        self, candidate: Candidate, lock: Future[str | None] | None, artefact_facts: ArtefactFacts
    ) -> Candidate:
        """The candidate with what is found in its lock, or else in its requirements.

        A lock that cannot be read does not change the choice: `prepare` will refuse it.
        """
        try:
            text = lock.result() if lock else None
            judged = self._with_gaps_of(candidate, text, artefact_facts)
        except GpuenvError as error:
            causes = "".join(f": {cause}" for cause in error.causes[:1])
            warning = Reason(code=error.code, message=f"{error.message}{causes}", hint=error.hint)
            return with_artefacts(candidate, warnings=(warning,))
        if text is not None:
            self._locks[candidate.profile.name] = text
        return judged

    def _with_gaps_of(
        self, candidate: Candidate, text: str | None, artefact_facts: ArtefactFacts
    ) -> Candidate:
        from provisioner.core.artefacts import judge_lock, judge_requirements, torch_label

        host = self._judged.target.host
        policy = self._options.gpu_policy
        gpus = candidate.gpus or counted(policy, host.gpus)
        requirements = self._requirements(candidate)
        label = torch_label(candidate.profile)

        def gaps_of(counting: tuple[Gpu, ...]) -> tuple[Gap, ...]:
            cuda = candidate.profile.cuda or self._cuda
            known = (cuda, host, counting, self._judged.facts, artefact_facts)
            if text is not None:
                return judge_lock(text, *known, self._interpreter)
            return judge_requirements(requirements, *known, self._interpreter, label)

        gaps = gaps_of(gpus)
        if policy.kind == "any" and any(gap.hard for gap in gaps):
            alone = {gpu: gaps_of((gpu,)) for gpu in gpus}
            able = tuple(gpu for gpu in gpus if not any(gap.hard for gap in alone[gpu]))
            if able:
                out = tuple(gpu for gpu in gpus if gpu not in able)
                gaps = gaps_of(able)
                candidate = leaving_out(replace(candidate, gpus=able), out)
        # A lock of gpuenv's own is resolved again within what the host can run.
        ours = text is not None and not locked_by_uv(self._place)
        return _with_gaps(candidate, gaps, "`gpuenv lock --upgrade` takes it" if ours else None)

    def _requirements(self, candidate: Candidate) -> tuple[str, ...]:
        """What is going to be resolved, as far as it stands in a file.

        uv's own sources say where it takes a project's PyTorch from; only a profile's index
        of PyTorch is known to be among them.
        """
        from provisioner.core.artefacts import torch_label

        place = self._place
        if place.manifest is None:
            return candidate.profile.requirements or ()
        asked = place.manifest.requirements(candidate.extras, candidate.groups, candidate.without)
        if locked_by_uv(place) and torch_label(candidate.profile) is None:
            return tuple(text for text in asked if not _TORCH.match(text))
        return asked


def _with_gaps(candidate: Candidate, gaps: tuple[Gap, ...], mend: str | None) -> Candidate:
    """A build of PyTorch that cannot run rejects its line; other packages leave a gap."""
    reasons = []
    holes = []
    warnings = []
    lost = set()
    for gap in gaps:
        hint = f"{gap.hint}; {mend}" if gap.nearest and mend else gap.hint
        reason = Reason(code=gap.code, message=gap.message, source=gap.source, hint=hint)
        if not gap.hard:
            warnings.append(reason)
        elif candidate.profile.cuda is None:
            warnings.append(reason)  # It runs, though not on the GPU.
        elif gap.package in _LINE_MAKERS:
            lacks = gap.code in {"no-artefact", "artefact-no-code"}
            reasons.append(replace(reason, code="no-code") if lacks else reason)
            lost.add(gap.capability)
        else:
            holes.append(reason)
    kept = tuple(gpu for gpu in candidate.gpus if gpu.compute_capability not in lost)
    return with_artefacts(
        replace(candidate, gpus=kept),
        reasons=tuple(reasons),
        gaps=tuple(holes),
        warnings=tuple(warnings),
    )
