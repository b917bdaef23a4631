"""The command line: parse, call one verb, render its result as text or JSON, exit."""

from __future__ import annotations

import gc
import sys
from typing import Final

_OBJECTS: Final = 50_000


def main() -> None:
    """Run `gpuenv` and exit with its code."""
    # Most of what a command makes lives until its end, so that looking for garbage as often as
    # Python does is in vain: it took 5 to 8 % of the imports, and 7 % of a fetch.
    gc.set_threshold(_OBJECTS, 20, 20)
    from provisioner.cli.runner import run

    sys.exit(run(sys.argv[1:]))
