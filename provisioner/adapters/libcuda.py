"""The CUDA version of the driver's `libcuda.so.1`, asked in a child process.

`cuDriverGetVersion` needs no initialisation (CUDA driver API, "Version Management"): no
context is made and no GPU is woken.
"""

from __future__ import annotations

from typing import Final

LIBRARY: Final = "libcuda.so.1"


def main(arguments: list[str]) -> None:
    """Run in the child: the time limit, and the candidates for the library."""
    import ctypes
    import json

    from provisioner.adapters._library import finish, load, loaded_path, start

    seconds, candidates = json.loads(arguments[0])
    say = start(seconds)
    call = "cuDriverGetVersion"
    try:
        say({"call": "dlopen"})
        why = load(candidates)
        if why is not None:
            say({"call": call, "said": why})
        else:
            say({"libcuda": loaded_path("libcuda.so")})
            say({"call": call})
            version = ctypes.c_int()
            code = ctypes.CDLL(LIBRARY).cuDriverGetVersion(ctypes.byref(version))
            say({"call": call, **({"error": code} if code else {"value": version.value})})
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told of
        finish(say, error)
    finish(say)
