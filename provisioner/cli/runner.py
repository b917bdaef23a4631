"""Call the command and turn whatever happens into an exit code and a message."""

from __future__ import annotations

import os
import sys

import click

from provisioner.cli.commands import gpuenv
from provisioner.cli.render import envelope, render_error
from provisioner.errors import GpuenvError, SpaceError, UsageError

INTERRUPTED = 130
_ENDED_READER = 141


def run(arguments: list[str]) -> int:  # noqa: PLR0911 - an exit a kind of ending
    """Run one command line; the exit code is the answer."""
    try:
        code = gpuenv.main(arguments, prog_name="gpuenv", standalone_mode=False)
        sys.stdout.flush()
    except GpuenvError as error:
        return _fail(error, arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.UsageError as error:
        hint = f"`{error.ctx.command_path} --help` lists the options" if error.ctx else None
        words = error.format_message().rstrip(".").replace("'", "`")
        return _fail(UsageError(words[:1].lower() + words[1:], hint=hint), arguments)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; what was complete is kept", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as with `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ENDED_READER
    except OSError as error:
        return _fail(_from_system(error), arguments)
    return code if isinstance(code, int) else 0


def _fail(error: GpuenvError, arguments: list[str]) -> int:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" in own:
        command = next((word for word in own if not word.startswith("-")), "")
        click.echo(envelope(command, error.data, error))
    click.echo(render_error(error), err=True)
    return error.exit_code


def _from_system(error: OSError) -> GpuenvError:
    """What the operating system refused, in the form of our messages."""
    from provisioner.adapters._files import NO_SPACE

    words = (error.strerror or str(error)).lower()
    message = f"`{error.filename}`: {words}" if error.filename else words
    kind = SpaceError if error.errno in NO_SPACE else GpuenvError
    return kind(message)
