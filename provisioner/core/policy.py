"""Which of a host's GPUs a profile has to run on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.host import Gpu

Kind = Literal["all", "any", "best", "list"]

_HINT: Final = "`--gpu-policy all`, `any`, `best`, or a list such as `0,2`"
_INDEX: Final = re.compile(r"[0-9]{1,4}")
_OUT_OF_REACH: Final = frozenset({"lost", "no-permission", "failed"})


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuPolicy:
    """What `--gpu-policy` says; `names` are the indexes and UUIDs of a list.

    `all`: a profile must run on every GPU. `any`: on one of them. `best`: on those of the
    highest compute capability. A list: on the GPUs that it names.
    """

    kind: Kind = "all"
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is written on the command line."""
        return ",".join(self.names) if self.kind == "list" else self.kind


ALL: Final = GpuPolicy()


def parse_policy(text: str) -> GpuPolicy:
    """Read `all`, `any`, `best`, or a list such as `0,2` or `GPU-3f1a`.

    Raises:
        UsageError: it is none of these.
    """
    word = text.strip()
    if not word:
        message = "`--gpu-policy` is empty"
        raise UsageError(message, hint=_HINT)
    if word in {"all", "any", "best"}:
        return GpuPolicy(kind=word)  # type: ignore[arg-type]  # checked above
    names = tuple(part.strip() for part in word.split(","))
    wrong = [name for name in names if not (_INDEX.fullmatch(name) or name.startswith("GPU-"))]
    if wrong:
        message = f"`--gpu-policy {text}` is not a policy"
        raise UsageError(
            message,
            causes=tuple(f"`{name}` is no index and no UUID of a GPU" for name in wrong),
            hint=_HINT,
        )
    return GpuPolicy(kind="list", names=names)


def counted(policy: GpuPolicy, gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs that a profile has to run on: on each, or with `any` on one of them.

    A GPU that is lost or failed, or that this user may not use, does not count. The integrated
    GPU of a Tegra chip does not count beside a discrete one, which is there to be used.

    Raises:
        UsageError: a list names a GPU that is not there.
    """
    known = tuple(gpus)
    if policy.kind == "list":
        return _named(policy, known)
    usable = tuple(gpu for gpu in known if gpu.status not in _OUT_OF_REACH)
    discrete = tuple(gpu for gpu in usable if not gpu.integrated)
    usable = discrete or usable
    if policy.kind != "best":
        return usable
    best = max((g.compute_capability for g in usable if g.compute_capability), default=None)
    return tuple(gpu for gpu in usable if gpu.compute_capability == best) if best else usable


def gpu_text(gpu: Gpu) -> str:
    """A GPU in a message: `GPU 0 (NVIDIA H100, `9.0`)`."""
    words = [*([gpu.name] if gpu.name else [])]
    words += [f"`{gpu.compute_capability}`"] if gpu.compute_capability else []
    return f"GPU {gpu.index}" + (f" ({', '.join(words)})" if words else "")


def _named(policy: GpuPolicy, gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    found: list[Gpu] = []
    missing = []
    for name in policy.names:
        exact = [gpu for gpu in gpus if gpu.uuid == name]
        matching = exact or [gpu for gpu in gpus if _is(gpu, name)]
        if len(matching) == 1:
            found += [gpu for gpu in matching if gpu not in found]
        else:
            missing.append(name)
    if missing:
        message = f"`--gpu-policy {policy}` names GPUs that are not there"
        there = ", ".join(gpu_text(gpu) for gpu in gpus) or "none"
        raise UsageError(
            message,
            causes=(
                *(f"there is no single GPU `{name}`" for name in missing),
                f"the host has {there}",
            ),
        )
    return tuple(sorted(found, key=lambda gpu: gpu.index))


def _is(gpu: Gpu, name: str) -> bool:
    """Whether an index, a UUID or the beginning of one means a GPU, as `CUDA_VISIBLE_DEVICES`."""
    if _INDEX.fullmatch(name):
        return gpu.index == int(name)
    return gpu.uuid is not None and gpu.uuid.startswith(name)
