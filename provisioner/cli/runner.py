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


def run(arguments: list[str]) -> int:  # noqa: PLR0911 - an exit a kind of ending
    """Run one command line; the exit code is the answer."""
    called = Called()
    try:
        code = gpuenv.main(arguments, prog_name="gpuenv", standalone_mode=False, obj=called)
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


def _from_system(error: OSError) -> GpuenvError:
    """What the operating system refused, in the form of our messages."""
    from provisioner.adapters._files import NO_SPACE

    words = said(error)
    message = f"`{error.filename}`: {words}" if error.filename else words
    kind = SpaceError if error.errno in NO_SPACE else GpuenvError
    return kind(message)
