"""`gpuenv store` and its commands. Each imports its verb only when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common, gpuenv
from provisioner.cli.store_policy import policy

if TYPE_CHECKING:
    from provisioner.cli.commands import Session


@gpuenv.group()
def store() -> None:
    """Look after the files and environments that are kept."""


store.add_command(policy)


@store.command("list")
@common
def list_(session: Session) -> None:
    """List the files: their size, where they came from, and who uses them."""
    from provisioner.cli.render_store import render_list
    from provisioner.workflow.store_list import store_list

    result = store_list(session.world, session.options)
    session.show(result.to_json(), render_list(result))


@store.command()
@common
def info(session: Session) -> None:
    """Show what takes how much of the disk, and for which project."""
    from provisioner.cli.render_store import render_info
    from provisioner.workflow.store_list import store_info

    result = store_info(session.world, session.options)
    session.show(result.to_json(), render_info(result))


@store.command()
@click.option("--quick", is_flag=True, help="Hash only files that a stat shows to have changed.")
@click.option("--repair", is_flag=True, help="Fetch again what is damaged.")
@common
def verify(session: Session, *, quick: bool, repair: bool) -> None:
    """Look for damaged, replaced, writable and missing files, by their hash."""
    from provisioner.cli.render_store import render_verify
    from provisioner.workflow.store_verify import store_verify

    result = store_verify(session.world, session.options, quick=quick, repair=repair)
    failure = result.failure()
    if not (failure and session.as_json):
        session.show(result.to_json(), render_verify(result))
    if failure:
        raise failure


@store.command()
@click.option("--max-size", metavar="SIZE", help="Remove only what makes the store larger.")
@click.option("--max-age", metavar="AGE", help="Remove only what was not used for so long.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@common
def gc(session: Session, *, max_size: str | None, max_age: str | None, dry_run: bool) -> None:
    """Remove what no project, generation, pin or running process uses.

    SIZE is like 20GB or 512MiB, AGE like 30d or 12h. What was not used for the longest time
    goes first.
    """
    from provisioner.cli.render_store import render_gc
    from provisioner.core.limits import parse_age, parse_size
    from provisioner.core.reach import Limits
    from provisioner.workflow.store_gc import store_gc

    limits = Limits(
        max_size=None if max_size is None else parse_size(max_size),
        max_age=None if max_age is None else parse_age(max_age),
    )
    result = store_gc(session.world, session.options, limits, dry_run=dry_run)
    session.show(result.to_json(), render_gc(result))


@store.command()
@click.argument("wanted", metavar="[FILE|SHA256|DIR]...", nargs=-1)
@click.option("--remove", is_flag=True, help="Keep it no longer.")
@common
def pin(session: Session, wanted: tuple[str, ...], *, remove: bool) -> None:
    """Keep files, or all that a project needs, whoever uses them; alone, list what is kept."""
    from provisioner.cli.render_store import render_pins
    from provisioner.workflow.store_pin import store_pin

    result = store_pin(session.world, session.options, wanted, remove=remove)
    session.show(result.to_json(), render_pins(result))


@store.command()
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@common
def forget(session: Session, names: tuple[str, ...]) -> None:
    """Let a file name come with other bytes than those that it was first seen with."""
    from provisioner.cli.render_store import render_forgotten
    from provisioner.workflow.store_pin import store_forget

    result = store_forget(session.world, session.options, names)
    session.show(result.to_json(), render_forgotten(result))
