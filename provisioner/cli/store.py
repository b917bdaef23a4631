"""`gpuenv store` and its commands. Each imports its verb only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common_of_store, gpuenv
from provisioner.cli.store_policy import policy
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from provisioner.cli.commands import Session


@gpuenv.group()
def store() -> None:
    """Look after the files and environments that are kept."""


store.add_command(policy)


@store.command("list")
@common_of_store()
def list_(session: Session) -> None:
    """List the files: size, where they came from, who uses them."""
    from provisioner.cli.render_store import render_list
    from provisioner.workflow.store_list import store_list

    result = store_list(session.world, session.options)
    session.show(result.to_json(), render_list(result))


@store.command()
@common_of_store()
def info(session: Session) -> None:
    """Show what takes how much of the disk, and for which project."""
    from provisioner.cli.render_store import render_info
    from provisioner.workflow.store_list import store_info

    result = store_info(session.world, session.options)
    session.show(result.to_json(), render_info(result))


@store.command()
@click.option("--quick", is_flag=True, help="Hash only files that a stat shows to have changed.")
@click.option(
    "--repair",
    is_flag=True,
    help="Fetch again what is damaged, and make damaged environments again.",
)
@common_of_store()
def verify(session: Session, *, quick: bool, repair: bool) -> None:
    """Look for damaged files, also in environments.

    Each file is hashed, but for --quick. --repair mends uv's cache too.
    """
    from provisioner.cli.render_store import render_verify
    from provisioner.workflow.store_verify import store_verify

    result = store_verify(session.world, session.options, quick=quick, repair=repair)
    failure = result.failure()
    if not (failure and session.as_json):
        session.show(result.to_json(), render_verify(result))
    if failure:
        raise failure


@store.command()
@click.option(
    "--max-size", metavar="SIZE", help="Remove files only as long as the store is larger."
)
@click.option("--max-age", metavar="AGE", help="Remove only what was not used for so long.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@common_of_store()
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
@common_of_store()
def pin(session: Session, wanted: tuple[str, ...], *, remove: bool) -> None:
    """Keep files, or all that a project needs.

    They are kept whoever uses them. Without a word, what is kept is listed.
    """
    from provisioner.cli.render_store import render_pins
    from provisioner.workflow.store_pin import store_pin

    if remove and not wanted:
        message = "`--remove` needs the names of what is to be kept no longer"
        raise UsageError(message, hint="`gpuenv store pin` lists the pins")
    result = store_pin(session.world, session.options, wanted, remove=remove)
    session.show(result.to_json(), render_pins(result))


@store.command()
@click.argument("bundle", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("words", metavar="[NAME|SHA256|DIR]...", nargs=-1)
@click.option("--pin", "pins", metavar="NAME", multiple=True, help="Export what a pin keeps.")
@click.option("--all", "every", is_flag=True, help="Export everything that is held.")
@common_of_store("project", force="Replace an existing FILE.")
def export(
    session: Session, *, bundle: Path, words: tuple[str, ...], pins: tuple[str, ...], every: bool
) -> None:
    """Write a bundle for a machine without a network.

    It has what the project at hand asked for last, with all that it takes to build it there,
    or what is named. `-` writes it to stdout. An existing FILE is replaced only with --force.
    """
    from provisioner.cli.render_store import render_export
    from provisioner.workflow.store_export import Chosen, store_export

    if every and (words or pins):
        message = "`--all` leaves nothing to be named"
        raise UsageError(message)
    chosen = Chosen(words=words, pins=pins, every=every)
    if str(bundle) != "-":
        result = store_export(session.world, session.options, chosen, bundle)
        session.show(result.to_json(), render_export(result))
        return
    if session.as_json:
        message = "a bundle on stdout leaves no room for anything else there"
        raise UsageError(message, hint="name a file, or leave out `--json`")
    if sys.stdout.isatty():
        message = "a bundle is not for a terminal"
        raise UsageError(message, hint="name a file, or lead stdout into a file or command")
    result = store_export(session.world, session.options, chosen, sys.stdout.buffer)
    if not session.quiet:
        click.echo(render_export(result), err=True)


@store.command("import")
@click.argument("bundle", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--no-pin", is_flag=True, help="Let `store gc` take what no project uses.")
@common_of_store()
def import_(session: Session, *, bundle: Path, no_pin: bool) -> None:
    """Take a bundle of `store export` into the store.

    Every file is verified; `-` reads stdin. What it has is kept until `store pin --remove` of the
    bundle's name.
    """
    from provisioner.cli.render_store import render_import
    from provisioner.workflow.store_import import store_import

    source = sys.stdin.buffer if str(bundle) == "-" else bundle
    result = store_import(session.world, session.options, source, pin=not no_pin)
    session.show(result.to_json(), render_import(result))


@store.command()
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@common_of_store()
def forget(session: Session, names: tuple[str, ...]) -> None:
    """Let a file name come with other bytes from now on.

    Otherwise it may come only with those that it was first seen with.
    """
    from provisioner.cli.render_store import render_forgotten
    from provisioner.workflow.store_pin import store_forget

    result = store_forget(session.world, session.options, names)
    session.show(result.to_json(), render_forgotten(result))
