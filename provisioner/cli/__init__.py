"""The command line: parse, call one verb, render its result as text or JSON, exit."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `gpuenv` and exit with its code."""
    from provisioner.cli.runner import run

    sys.exit(run(sys.argv[1:]))
