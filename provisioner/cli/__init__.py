"""The command line: parse, call one verb, render its result as text or JSON, exit."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run `gpuenv` and exit with its code."""
    from provisioner.cli.runner import run

    # As Ctrl-C: what runs for us ends too, and nothing half is left.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))
