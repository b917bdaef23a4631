"""The commands and their options. Each imports its verb only when it is called."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from provisioner import __version__
from provisioner.cli.render import envelope
from provisioner.core.policy import parse_policy
from provisioner.errors import GpuenvError, UsageError
from provisioner.workflow.world import Options, Wishes, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provisioner.workflow.progress import Progress

_PATH = click.Path(path_type=Path)


@dataclass
class Called:
    """What is known of a command line before, and although, it fails."""

    command: str = ""
    as_json: bool = False


class Session:
    """The world, the common options, and how to say things."""

    def __init__(self, options: Options, *, as_json: bool, verbose: bool, quiet: bool) -> None:
        self.options = options
        self.as_json = as_json
        self.verbose = verbose
        self.quiet = quiet
        self.progress = self._progress()
        self.world = World(
            variables=dict(os.environ),
            home=_home(),
            folder=Path.cwd(),
            now=time.time,
            progress=self.progress,
            guard=_end_as_interrupted,
            root=Path(os.environ.get("GPUENV_ROOT") or "/").absolute(),
        )

    def show(self, data: dict[str, Any], text: str) -> None:
        """Print a result, as JSON or as text."""
        self.progress.close()
        if self.as_json:
            click.echo(envelope(_command(click.get_current_context()), data))
        elif not self.quiet:
            click.echo(text)

    def _progress(self) -> Progress:
        from provisioner.workflow.progress import Quiet

        if self.quiet:
            return Quiet()
        from provisioner.cli.progress import Lines, Terminal

        return Terminal() if sys.stderr.isatty() and not self.verbose else Lines()


def _command(context: click.Context) -> str:
    """The words of a command, as in `store gc`."""
    return context.command_path.partition(" ")[2]


def _end_as_interrupted() -> None:
    """End on SIGTERM and SIGHUP as on Ctrl-C: what runs for us ends too, nothing half is left.

    One that whoever started us had ignored, as `nohup` does, stays so.
    """
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        message = "this user has no home folder"
        raise GpuenvError(message, hint="set `HOME`", code="no-home") from None


def _switched_on(variable: str) -> bool:
    """Whether a variable says yes, as uv reads such variables."""
    text = os.environ.get(variable, "").strip().lower()
    if text in {"", "0", "false", "no", "off", "n", "f"}:
        return False
    if text in {"1", "true", "yes", "on", "y", "t"}:
        return True
    message = f"`{variable}` is neither yes nor no"
    raise UsageError(message, causes=(f"it is `{text}`",), hint=f"`{variable}=1`")


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all commands share, and hand them over as a `Session`."""

    @functools.wraps(function)
    def called(**values: Any) -> Any:  # noqa: ANN401 - click's own
        context = click.get_current_context()
        called_with = context.find_object(Called) or Called()
        called_with.command = _command(context)
        called_with.as_json = values["as_json"]
        offline = values.pop("offline") or _switched_on("GPUENV_OFFLINE")
        project, store = values.pop("project"), values.pop("store")
        targets = values.pop("target")
        if len(targets) > 1 and called_with.command not in _TAKE_TARGETS:
            message = f"`gpuenv {called_with.command}` takes one `--target`"
            raise UsageError(message, hint="`gpuenv select`, `prepare` and `bake` take several")
        options = Options(
            project=project.resolve() if project else None,
            store=store.absolute() if store else None,
            profile=values.pop("profile"),
            force=values.pop("force"),
            target=targets[0] if len(targets) == 1 else None,
            targets=targets if len(targets) > 1 else (),
            gpu_policy=parse_policy(values.pop("gpu_policy")),
            python=values.pop("python"),
            offline=offline,
        )
        session = Session(
            options,
            as_json=values.pop("as_json"),
            verbose=values.pop("verbose"),
            quiet=values.pop("quiet"),
        )
        try:
            return function(session, **values)
        finally:
            session.progress.close()

    for option in reversed(_OPTIONS):
        called = option(called)
    return called


def common_of_store(
    *used: str, without: Iterable[str] = (), **helps: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As `common`, but help leaves out the options that mean nothing to a store.

    They are taken even so, as everywhere. `used` are those that mean something to the command,
    `helps` say what, where it is something else there; `without` are further ones to leave out.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        called = common(function)
        for option in getattr(called, "__click_params__", ()):
            if isinstance(option, click.Option) and option.name:
                option.hidden = option.name in {*_NOT_OF_STORES, *without} - {*used, *helps}
                option.help = helps.get(option.name, option.help)
        return called

    return add


def without_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave `--json` out of the help of a command that has no result; its errors are still JSON."""
    for option in getattr(function, "__click_params__", ()):
        if isinstance(option, click.Option) and option.name == "as_json":
            option.hidden = True
    return function


def _lazily(name: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What completes a word, loaded where one is completed."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
        from provisioner.cli import completion

        found: list[str] = getattr(completion, name)(context, begun)
        return found

    return complete


_NOT_OF_STORES = frozenset({"project", "profile", "force", "target", "gpu_policy", "python"})
_TAKE_TARGETS = frozenset({"select", "prepare", "bake image", "bake dockerfile"})

_OPTIONS = (
    click.option(
        "--project",
        type=_PATH,
        metavar="DIR",
        help="The project [default: the nearest folder upwards with a pyproject.toml].",
    ),
    click.option(
        "--store",
        type=_PATH,
        metavar="DIR",
        help="Where files and environments are kept [variable: GPUENV_STORE; default: gpuenv in "
        "the user's data folder, such as ~/.local/share].",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        help="Take this profile, if it fits.",
        shell_complete=_lazily("known_profiles"),
    ),
    click.option("--force", is_flag=True, help="Take the profile of --profile even so."),
    click.option(
        "--target",
        metavar="FILE|SHORT|NAME",
        multiple=True,
        help="Provision for another machine: a file of `detect --save`, the name of an example "
        "such as v100-h100-r580, or like "
        "driver=580.65.06,cuda=13.0,gpus=9.0+8.0,python=3.12; `here` forgets a remembered "
        "one; select, prepare and bake take several [variable: GPUENV_TARGET].",
    ),
    click.option(
        "--gpu-policy",
        default="all",
        metavar="all|any|best|LIST",
        help="The GPUs that a profile has to run on: all, any one, the best, or those of a list "
        "of indexes and UUIDs [default: all].",
    ),
    click.option("--python", metavar="3.12", help="The Python to provision for."),
    click.option("--offline", is_flag=True, help="Use no network [variable: GPUENV_OFFLINE]."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "-v", "--verbose", is_flag=True, help="Say more: a line for every file, also on a terminal."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say only errors."),
)


class _Lazy(click.Group):
    """Commands of modules of their own, which are loaded where one is called or listed.

    As click's documentation has it ("Lazily Loading Subcommands").
    """

    _MODULES: Final = ("bake", "check", "completion", "configure", "env", "serve", "store")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command."""
        self._load(*self._MODULES)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command; before one is called unknown, all are there to be suggested."""
        if cmd_name not in self.commands:
            self._load(*([cmd_name] if cmd_name in self._MODULES else self._MODULES))
        return super().get_command(ctx, cmd_name)

    def _load(self, *names: str) -> None:
        for name in names:
            importlib.import_module(f"provisioner.cli.{name}")


@click.group(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="gpuenv")
def gpuenv() -> None:
    """Set up the CUDA environments that this machine's GPUs can run.

    Files are fetched once; from then on switching between CUDA versions needs no network.
    """


@gpuenv.command()
@click.option("--save", type=_PATH, metavar="FILE", help="Write a file that --target takes.")
@common
def detect(session: Session, save: Path | None) -> None:
    """Show the driver, the GPUs, and what is wrong with them."""
    from provisioner.cli.render import render_target
    from provisioner.core.target_json import target_to_json
    from provisioner.workflow import detect as verb

    target = verb.detect(session.world, session.options)
    if save:
        verb.save(target, save)
    session.show(target_to_json(target), render_target(target))


@gpuenv.command()
@common
def profiles(session: Session) -> None:
    """List the profiles, where each is from, and which of them fit."""
    from provisioner.cli.render import render_profiles
    from provisioner.workflow.profiles import list_profiles

    result = list_profiles(session.world, session.options)
    session.show(result.to_json(), render_profiles(result))


@gpuenv.command()
@common
def select(session: Session) -> None:
    """Show which profile would be chosen, and why not the others."""
    from provisioner.cli.render import render_known, render_selection, render_selections
    from provisioner.errors import SelectionError
    from provisioner.workflow.profiles import choose_for_targets, choose_profile

    try:
        if session.options.targets:
            several = choose_for_targets(session.world, session.options)
            session.show(several.to_json(), render_selections(several))
        else:
            result = choose_profile(session.world, session.options)
            session.show(result.to_json(), render_selection(result))
    except SelectionError as error:
        if error.data and not (session.as_json or session.quiet):
            click.echo(render_known(error.data))
        raise


@gpuenv.command()
@click.option("--upgrade", is_flag=True, help="Take newer versions than the locks have.")
@common
def lock(session: Session, *, upgrade: bool) -> None:
    """Resolve and write the locks, and do no more."""
    from provisioner.cli.render import render_lock
    from provisioner.workflow.lock import lock as verb

    result = verb(session.world, session.options, upgrade=upgrade)
    session.show(result.to_json(), render_lock(result))


@gpuenv.command()
@click.option(
    "--from",
    "bundle",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="BUNDLE",
    help="Take the files, and the locks where the project has none, from a bundle of `gpuenv store "
    "export`, and use no network; `-` reads stdin.",
)
@click.option("--only", is_flag=True, help="Prepare the chosen profile alone.")
@click.option("--all", "every", is_flag=True, help="Without a project: every profile that fits.")
@click.option("--fetch-only", is_flag=True, help="Fetch, and make no environment.")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched.")
@click.option("--adopt", is_flag=True, help="Move a `.venv` that is not ours aside.")
@click.option("--keep", is_flag=True, help="Take environments that were changed as they are.")
@click.option(
    "--seed/--no-seed",
    default=None,
    help="Put pip into the environments, or no more [default: as it was asked for last; at first "
    "no].",
)
@click.option(
    "--uv",
    "uvs",
    metavar="PATH",
    multiple=True,
    help="A further uv to fill the cache for, remembered until it is gone [default: the first on "
    "PATH, and those that are remembered].",
)
@click.option(
    "--proof/--no-proof",
    default=None,
    help="Try the toggles of every client with the network cut off, or of none [default: of uv, "
    "where something was fetched or made].",
)
@common
def prepare(session: Session, bundle: Path | None, **wishes: Any) -> None:  # noqa: ANN401 - flags
    """Make the right CUDA environment, and all others that can run."""
    from provisioner.cli.render import render_prepare, render_prepared_targets
    from provisioner.workflow.prepare import prepare as verb
    from provisioner.workflow.prepare import prepare_for_targets
    from provisioner.workflow.prepared import PrepareResult

    if wishes["only"] and wishes["every"]:
        message = "`--only` and `--all` exclude each other"
        raise UsageError(message)
    if bundle is not None:
        _prepare_from(session, bundle, wishes)
        return
    if session.options.targets:
        several = prepare_for_targets(session.world, session.options, Wishes(**wishes))
        session.show(several.to_json(), render_prepared_targets(several))
        return
    try:
        result = verb(session.world, session.options, Wishes(**wishes))
    except GpuenvError as error:
        if error.data and "proof" in error.data and not (session.as_json or session.quiet):
            click.echo(render_prepare(PrepareResult.from_json(error.data)))
        raise
    session.show(result.to_json(), render_prepare(result))


def _prepare_from(session: Session, bundle: Path, wishes: dict[str, Any]) -> None:
    """Prepare from a bundle.

    Raises:
        UsageError: with another option that makes no sense beside it.
    """
    from provisioner.cli.render import render_prepare
    from provisioner.workflow.prepare_from import prepare_from

    if wishes["dry_run"] or session.options.targets:
        message = "`--from` takes a bundle for this machine, and prepares from it"
        other = "`--dry-run`" if wishes["dry_run"] else "several `--target`"
        raise UsageError(
            message, causes=(f"it does not go with {other}",), hint="`gpuenv store import` takes it"
        )
    source = sys.stdin.buffer if str(bundle) == "-" else bundle
    result = prepare_from(session.world, session.options, Wishes(**wishes), source)
    session.show(result.to_json(), render_prepare(result))


@gpuenv.command()
@click.argument("wanted", metavar="PROFILE", shell_complete=_lazily("prepared_profiles"))
@click.option("--keep", is_flag=True, help="Take an environment that was changed as it is.")
@common
def switch(session: Session, wanted: str, *, keep: bool) -> None:
    """Make another prepared profile the active one."""
    from provisioner.cli.render import render_switch
    from provisioner.workflow.switch import switch as verb

    result = verb(session.world, session.options, wanted, keep=keep)
    session.show(result.to_json(), render_switch(result))


@gpuenv.command()
@click.argument("number", metavar="[N]", type=int, required=False)
@click.option("--keep", is_flag=True, help="Take an environment that was changed as it is.")
@common
def rollback(session: Session, number: int | None, *, keep: bool) -> None:
    """Go back to generation N, or to the previous one."""
    from provisioner.cli.render import render_switch
    from provisioner.workflow.switch import rollback as verb

    result = verb(session.world, session.options, number, keep=keep)
    session.show(result.to_json(), render_switch(result))


@gpuenv.command()
@click.option("--history", is_flag=True, help="Show every generation, its time and environment.")
@common
def status(session: Session, *, history: bool) -> None:
    """Show what is active, and whether it is as it was made."""
    from provisioner.cli.render import render_status
    from provisioner.workflow.status import status as verb

    result = verb(session.world, session.options)
    damage = result.damage()
    if not (damage and session.as_json):
        session.show(result.to_json(), render_status(result, history=history))
    if damage:
        raise damage


@gpuenv.command()
@common
def doctor(session: Session) -> None:
    """Show what would keep `prepare` from working, and remedies."""
    from provisioner.cli.render import render_doctor
    from provisioner.workflow.doctor import doctor as verb

    result = verb(session.world, session.options)
    failure = result.failure()
    if not (failure and session.as_json):
        session.show(result.to_json(), render_doctor(result))
    if failure:
        raise failure


@gpuenv.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@without_json
@common
def run(session: Session, command: tuple[str, ...]) -> None:
    """Run a command inside an environment, without activating it."""
    from provisioner.workflow.run import command_environment, replace_process

    replace_process(command, command_environment(session.world, session.options))
