"""Where `gpuenv serve` listens, unless it is told otherwise."""

from typing import Final

HOST: Final = "127.0.0.1"
PORT: Final = 8199
