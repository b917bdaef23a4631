"""Put pip into environments, for those who want it: fetched once, and always the same one."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters.uv import Question, Turned
from provisioner.core.digest import Digest
from provisioner.core.file_names import project_of
from provisioner.core.plan import plan_fetch, read_lock
from provisioner.errors import LockError, NetworkError
from provisioner.workflow.lock_indexes import record_indexes

if TYPE_CHECKING:
    from provisioner.adapters.store import Store
    from provisioner.adapters.uv import Uv
    from provisioner.core.plan import LockedFile, LockedSet
    from provisioner.workflow.environments import Recipe
    from provisioner.workflow.job import Job
    from provisioner.workflow.workshop import Workshop

_REQUIREMENTS: Final = (
    "pip",
    "setuptools; python_version < '3.12'",
    "wheel; python_version < '3.12'",
)
"""What `uv venv --seed` puts in (uv's reference of the command)."""
_ORIGIN: Final = "of `--seed`"
_NAME: Final = "pylock.seed.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """The wheels that each environment gets beside its own, and the PEP 751 lock that has them."""

    lock: str | None = None
    files: tuple[LockedFile, ...] = ()

    @property
    def recipe(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of each, which is all that it takes to put them in."""
        return tuple((file.name, file.digest.hex) for file in self.files)


def choose_seeds(job: Job, workshop: Workshop, known: str | None) -> Seeds:
    """The wheels of a lock that is `known`, or of a new one where none is or it has none that fit.

    So they stay the same for all environments of a project, also for those that are made again.

    Raises:
        LockError: they would have to be resolved, and `--offline` forbids it.
        ToolError: no index has them.
    """
    if not job.wishes.seed:
        return Seeds()
    if known is not None:
        with suppress(LockError):  # Python is another one now.
            return _seeds(job, workshop, known)
    if job.options.offline:
        message = "which pip `--seed` takes is not known yet, and `--offline` forbids to look"
        raise LockError(
            message,
            hint="run `gpuenv prepare --seed` once with a network",
            code="lock-needs-network",
        )
    question = Question(
        source="-",
        given="".join(f"{line}\n" for line in _REQUIREMENTS),
        turned=Turned(),
        name=_NAME,
        old=None,
        python=".".join(map(str, job.interpreter.minor)),
    )
    with workshop.resolving() as uv:
        text = uv.compile(question)
    return _seeds(job, workshop, record_indexes(workshop.pull, text))


def fetch_seeds(workshop: Workshop, seeds: Seeds) -> None:
    """Fetch what the store lacks of them: the first thing that an environment gets.

    Raises:
        NetworkError: one cannot be had.
        IntegrityError: one has the wrong hash.
    """
    workshop.pull.fetch(plan_fetch(seeds.files, workshop.pull.ledger))


def make_seeded(store: Store, uv: Uv, recipe: Recipe, path: Path) -> None:
    """Let uv make an environment that has the seeds of a recipe and nothing else.

    uv notes in it that they are seeds, so that no `uv sync` removes them.

    Raises:
        NetworkError: the store lacks one.
        ToolError: uv fails.
    """
    if lacks := [name for name, digest in recipe.seed if Digest(digest) not in store]:
        message = "the store lacks what `--seed` puts into environments"
        causes = tuple(f"`{name}` is not held" for name in lacks)
        hint = "`gpuenv prepare` fetches it"
        raise NetworkError(message, causes=causes, hint=hint, code="missing-offline")
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
        for wheel, digest in recipe.seed:
            Path(name, wheel).symlink_to(store.blob(Digest(digest)))
        uv.make_seeded(path, Path(recipe.python), Path(name))


def _seeds(job: Job, workshop: Workshop, text: str) -> Seeds:
    contents: LockedSet = read_lock(text, job.interpreter, job.target.host.platform, _ORIGIN)
    if odd := [file.name for file in contents.files if not project_of(file.name)]:
        message = "an index names what no file can be called"  # Names become paths.
        raise LockError(message, causes=tuple(f"`{name}`" for name in odd), code="lock-malformed")
    workshop.pull.know(contents.known)
    return Seeds(lock=text, files=contents.files)
