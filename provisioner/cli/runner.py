"""Call the command and turn whatever happens into an exit code and a message."""

from __future__ import annotations

import os
import re
import sys

import click

from provisioner.cli.commands import Called, gpuenv
from provisioner.cli.render import envelope, render_error
from provisioner.errors import GpuenvError, SpaceError, UsageError, said

INTERRUPTED = 130
_ENDED_READER = 141


def run(  # noqa: PLR0911 - an exit a kind of ending
    arguments: list[str], command: click.Command = gpuenv
) -> int:
    """Run one command line; the exit code is the answer."""
    called = Called()
    try:
        code = command.main(arguments, prog_name="gpuenv", standalone_mode=False, obj=called)
        sys.stdout.flush()
    except GpuenvError as error:
        return _fail(error, called)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.UsageError as error:
        # Parsing ended before the options were known.
        called.as_json = called.as_json or "--json" in arguments
        called.command = called.command or next((w for w in arguments if not w.startswith("-")), "")
        return _fail(_from_click(error), called)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return _fail(_InterruptedError("interrupted; what was complete is kept"), called)
    except BrokenPipeError:
        # Whoever read our output has gone, as with `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ENDED_READER
    except OSError as error:
        return _fail(_from_system(error), called)
    except Exception as error:  # noqa: BLE001 - a fault of ours is told like any other
        return _fail(_from_fault(error, called), called)
    return code if isinstance(code, int) else 0


class _InterruptedError(GpuenvError):
    exit_code = INTERRUPTED
    code = "interrupted"


def _fail(error: GpuenvError, called: Called) -> int:
    if called.as_json:
        click.echo(envelope(called.command, error.data, error))
    click.echo(render_error(error), err=True)
    return error.exit_code


def _from_click(error: click.UsageError) -> UsageError:
    """Click's words in the form of our messages: literals in backticks, suggestions as hints."""
    words, _, suggestion = error.format_message().replace("'", "`").partition(" (Did you mean")
    words, _, other = words.partition(". Did you mean")
    words = re.sub(r" \(([^)]*)\)$", r" `\1`", words.rstrip("."))
    options = re.findall(r"`[^`]+`", suggestion or other)
    hint = f"did you mean {' or '.join(options)}?" if options else None
    if hint is None and error.ctx:
        hint = f"`{error.ctx.command_path} --help` lists what there is"
    return UsageError(words[:1].lower() + words[1:], hint=hint)


def _from_fault(error: Exception, called: Called) -> GpuenvError:
    """A fault of gpuenv itself: in short, and where the rest is written down.

    What was asked for may have passwords in it, so that only the command's name is written.
    """
    import tempfile
    import traceback

    from provisioner import __version__

    text = "".join(traceback.format_exception(error))
    about = f"gpuenv {__version__}, Python {sys.version.split()[0]}, `gpuenv {called.command}`\n\n"
    hint = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="gpuenv-", suffix=".log", delete=False
        ) as file:
            file.write(about + text)
        hint = f"`{file.name}` has the details, for whoever is to mend it"
    except OSError:
        click.echo(about + text, err=True)  # Nothing is lost.
    message = "gpuenv has failed in a way that it should not"
    words = str(error).splitlines()[:1]
    cause = ": ".join([type(error).__name__, *words])
    return GpuenvError(message, causes=(cause,), hint=hint, code="fault")


def _from_system(error: OSError) -> GpuenvError:
    """What the operating system refused, in the form of our messages."""
    from provisioner.adapters._files import NO_SPACE

    words = said(error)
    message = f"`{error.filename}`: {words}" if error.filename else words
    kind = SpaceError if error.errno in NO_SPACE else GpuenvError
    return kind(message)
