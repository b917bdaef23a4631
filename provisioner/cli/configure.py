"""`gpuenv configure`: settings of uv and pip that keep what was downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common_of_store, gpuenv

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.workflow.configure import ConfigureResult


@gpuenv.command()
@click.option("--write", is_flag=True, help="Write what the diff shows.")
@click.option("--serve-url", metavar="URL", help="Let pip use this index of `gpuenv serve`.")
@common_of_store("project")
def configure(session: Session, *, write: bool, serve_url: str | None) -> None:
    """Show, as a diff, what makes uv and pip download less.

    Nothing is written without --write.
    """
    from provisioner.workflow.configure import configure as verb

    result = verb(session.world, session.options, write=write, serve_url=serve_url)
    session.show(result.to_json(), render_configure(result))


def render_configure(result: ConfigureResult) -> str:
    """`configure`."""
    lines = []
    for file in result.files:
        lines += [f"{file.path}:"]
        lines += [f"  {change.what}\n    why: {change.why}" for change in file.changes]
        lines += ["", file.diff]
    if not result.files:
        lines.append("nothing to change")
    elif result.files[0].written:
        count = len(result.files)
        lines.append(f"wrote {count} {'file' if count == 1 else 'files'}")
    else:
        lines.append("nothing is written; `gpuenv configure --write` writes it")
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes)])
