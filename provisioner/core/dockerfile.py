"""The Dockerfile of an environment, for those who build images with Docker, Podman or buildah.

Every file comes from the build context by a bind mount of the step that installs it, so that no
layer has a wheel or a cache, and no step needs a network. Large wheels have steps, and so
layers, of their own, in an order in which the ones that change least come first.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.core.plausible import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARKER: Final = "# Made by `gpuenv bake dockerfile`"
"""How a Dockerfile begins that may be replaced."""

INSTALLER: Final = "installer"
"""The folder of the library that unpacks wheels (pypa/installer), which needs only Python."""

SUMS: Final = "SHA256SUMS"
_INSIDE: Final = "/gpuenv"
_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Wheels that are installed together: a file of the context, or all of a folder in it.

    `sums` are the SHA-256 of each by its path in the context.
    """

    title: str
    source: str
    sums: Mapping[str, str]

    @property
    def is_folder(self) -> bool:
        """Whether `source` is a folder, which has a file of the hashes too."""
        return self.source not in self.sums

    @property
    def sums_text(self) -> str:
        """As `sha256sum -c` reads them."""
        return "".join(f"{digest}  {path}\n" for path, digest in sorted(self.sums.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerEnvironment:
    """An environment at a path in the image, made by an interpreter of the base."""

    path: str
    python: str
    steps: Sequence[Step]


def base_fault(base: str) -> str | None:
    """What is wrong with the name of a base (distribution/reference)."""
    if _NAME.fullmatch(base):
        return None
    return f"`{shown(base)}` is no name of an image, such as `python:3.12-slim`"


def dockerfile(
    base: str,
    environments: Sequence[DockerEnvironment],
    *,
    variables: Mapping[str, str],
    labels: Mapping[str, str],
    entry: tuple[str, str] | None = None,
) -> str:
    """The text of a Dockerfile.

    `entry` are the entry point by its path in the image, and by its name in the context.
    """
    lines = [
        f"{MARKER}; `docker build --network=none .` does, once the base is there.",
        f"FROM {base}",
        "",
    ]
    for environment in environments:
        venv = shlex.join(
            [environment.python, "-B", "-m", "venv", "--without-pip", environment.path]
        )
        lines += [f"RUN {venv}", ""]
        for step in environment.steps:
            lines += [*_step(environment, step), ""]
    if entry:
        copied = json.dumps([entry[1], entry[0]])  # A path may have a space.
        lines += [f"COPY --chmod=0755 {copied}", f"ENTRYPOINT {json.dumps([entry[0]])}", ""]
    assigned = {
        name: f"{value}:$PATH" if name == "PATH" else value for name, value in variables.items()
    }
    lines += _assignments("ENV", assigned) + _assignments("LABEL", labels)
    return "\n".join(lines).rstrip() + "\n"


def _step(environment: DockerEnvironment, step: Step) -> list[str]:
    """One `RUN`: the hashes are looked at, then the wheels are unpacked."""
    if step.is_folder:
        check = f"sha256sum -c {step.source}/{SUMS} >/dev/null"
        wheels = f"{step.source}/*.whl"
    else:
        check = f"echo '{step.sums_text.strip()}' | sha256sum -c >/dev/null"
        wheels = step.source
    python = shlex.quote(f"{environment.path}/bin/python")
    options = "--no-compile-bytecode --overwrite-existing"
    return [
        f"# {step.title}",
        f"RUN --mount=type=bind,source={INSTALLER},target={_INSIDE}/{INSTALLER} \\",
        f"    --mount=type=bind,source={step.source},target={_INSIDE}/{step.source} \\",
        f"    cd {_INSIDE} && {check} && \\",
        f"    PYTHONPATH={_INSIDE} {python} -B -m {INSTALLER} {options} {wheels}",
    ]


def ignored(names: Sequence[str]) -> str:
    """The text of `.dockerignore`: nothing goes to the builder but what is needed."""
    return "\n".join(["*", *(f"!{name}" for name in sorted(names))]) + "\n"


def _assignments(word: str, values: Mapping[str, str]) -> list[str]:
    """An instruction with an assignment a line; none where there is nothing to say."""
    if not values:
        return []
    each = [f"{name}={_quoted(value)}" for name, value in values.items()]
    return [f"{word} " + " \\\n    ".join(each), ""]


def _quoted(value: str) -> str:
    """A value in double quotes, in which `$PATH` is still replaced."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
