"""`gpuenv bake`: container images for machines that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common, gpuenv
from provisioner.core.sizes import size_text

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.workflow.bake import BakeResult
    from provisioner.workflow.bake_dockerfile import DockerfileResult

_PATH = click.Path(path_type=Path)


@gpuenv.group()
def bake() -> None:
    """Make container images, without a GPU, a daemon or root.

    An image has what a profile of the project needs, for the machine of --target.
    """


@bake.command()
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="DIR|FILE.tar",
    required=True,
    help="Where the image goes, as an OCI layout: a folder, which may have other images, or an "
    "archive.",
)
@click.option(
    "--base",
    metavar="DIR|FILE.tar[:TAG]",
    help="The image below: an OCI layout, such as `skopeo copy docker://debian:12 oci:DIR:12` "
    "makes [default: none].",
)
@click.option(
    "--tag", default="latest", metavar="TAG", help="What the image is called [default: latest]."
)
@click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd"]),
    default="gzip",
    metavar="gzip|zstd",
    help="How layers are compressed [default: gzip, which every registry and engine takes].",
)
@click.option("--level", type=int, metavar="N", help="How hard [default: 6 for gzip, 3 for zstd].")
@click.option(
    "--root",
    metavar="PATH",
    help="Where the environment lies in the image; with several targets, the folder of all "
    "[default: /opt/gpuenv].",
)
@click.option(
    "--interpreter",
    metavar="PATH",
    help="The Python in the image [default: the base's, of the version that is needed].",
)
@common
def image(session: Session, *, base: str | None, root: str | None, **words: object) -> None:
    """Make an image of the project's environment.

    The layout goes into a registry with `skopeo copy oci:DIR:TAG docker://…`. Each large wheel is
    a layer of its own, which is made once and kept in the store. With several --target the
    image has an environment for each profile, and picks one when a container starts.
    """
    from provisioner.workflow.bake import BakeWishes, bake_image
    from provisioner.workflow.bake_environments import ROOT

    wishes = BakeWishes(
        output=words["output"],  # type: ignore[arg-type] # click's types
        tag=words["tag"],  # type: ignore[arg-type]
        base=_base(base),
        compression=words["compression"],  # type: ignore[arg-type]
        level=words["level"],  # type: ignore[arg-type]
        root=root or ROOT,
        python=words["interpreter"],  # type: ignore[arg-type]
    )
    result = bake_image(session.world, session.options, wishes)
    session.show(result.to_json(), render_image(result))


def _base(text: str | None) -> tuple[Path, str | None] | None:
    """A path, and a tag after the last colon, unless the whole is a path.

    It may stand behind the name of a transport, as skopeo and podman have it.
    """
    if text is None:
        return None
    for transport in ("oci:", "oci-archive:"):
        text = text.removeprefix(transport)
    path, colon, tag = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), None
    return Path(path), tag or None


def render_image(result: BakeResult) -> str:
    """The image, its layers, and what to do with it."""
    lines = [f"{result.reference}  {result.digest}"]
    lines += [f"{len(result.layers)} layers, {_sum(result)}"]
    for item in result.layers:
        if not item.base:
            how = "reused" if item.reused else "made"
            name = item.layer.created_by.removeprefix("gpuenv bake image: ")
            lines.append(f"  {size_text(item.layer.size):>9}  {how:<6}  {name}")
    if result.entry:
        names = ", ".join(f"`{name}`" for name in result.profiles)
        lines.append(f"a container picks the first of {names} that its host runs")
    lines += [f"note: {note}" for note in result.notes]
    lines.append(f"`skopeo copy {result.reference} docker://REGISTRY/NAME:{result.tag}` ships it")
    return "\n".join(lines)


def _sum(result: BakeResult) -> str:
    made = sum(item.layer.size for item in result.layers if not item.reused)
    below = [item.layer.size for item in result.layers if item.base]
    total = sum(item.layer.size for item in result.layers)
    text = f"{size_text(total)}, of which {size_text(made)} are new"
    return f"{text} and {size_text(sum(below))} the base's" if below else text


@bake.command()
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="DIR",
    required=True,
    help="The folder that the Dockerfile and its files go into.",
)
@click.option(
    "--base",
    metavar="IMAGE",
    help="What the Dockerfile begins with, such as python:3.12-slim or NAME@sha256:… [default: "
    "Python's own slim image of the version that is needed].",
)
@click.option(
    "--root",
    metavar="PATH",
    help="Where the environment lies in the image; with several targets, the folder of all "
    "[default: /opt/gpuenv].",
)
@click.option(
    "--interpreter",
    metavar="PATH",
    help="The Python in the base [default: the one on its PATH of the version that is needed].",
)
@common
def dockerfile(
    session: Session, *, output: Path, base: str | None, root: str | None, interpreter: str | None
) -> None:
    """Write a Dockerfile of the project's environment.

    All that it needs lies beside it: `docker build`, `podman build` and `buildah build` of the
    folder fetch nothing but the base. Each wheel is mounted from the folder by the step that
    installs it.
    """
    from provisioner.workflow.bake_dockerfile import DockerfileWishes, bake_dockerfile
    from provisioner.workflow.bake_environments import ROOT

    wishes = DockerfileWishes(output=output, base=base, root=root or ROOT, python=interpreter)
    result = bake_dockerfile(session.world, session.options, wishes)
    session.show(result.to_json(), render_dockerfile(result))


def render_dockerfile(result: DockerfileResult) -> str:
    """The folder, and what to do with it."""
    count = len(result.wheels)
    wheels = f"{count} wheel{'' if count == 1 else 's'} ({size_text(result.size)})"
    lines = [f"{result.output}/Dockerfile  {', '.join(result.profiles)} on {result.base}, {wheels}"]
    if len(result.profiles) > 1:
        names = ", ".join(f"`{name}`" for name in result.profiles)
        lines.append(f"a container picks the first of {names} that its host runs")
    lines += [f"note: {note}" for note in result.notes]
    lines.append(f"`docker build --network=none -t NAME:TAG {result.output}` builds it")
    return "\n".join(lines)
