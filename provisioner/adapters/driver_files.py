"""What files tell of the NVIDIA driver and its GPUs: `/proc`, `/sys` and `/dev`.

None of these files wakes a GPU. All of them are below a root, which may be another machine's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from provisioner.adapters._machine_files import PROC, gpus_on_the_bus, names
from provisioner.core.evidence import Files, KnownGpu, PciGpu

if TYPE_CHECKING:
    from pathlib import Path

_CONTROL_NODE: Final = "nvidiactl"


def read_driver_files(root: Path) -> Files:
    """Read what can be read without asking the driver for anything."""
    nodes = tuple(filter(_is_node, names(f"{root}/dev")))
    return Files(
        module_version=_text(root / "sys/module/nvidia/version"),
        version=_text(root / PROC / "version"),
        gpus=tuple(KnownGpu(address=name) for name in names(f"{root}/{PROC}/gpus")),
        nodes=nodes,
        blocked=tuple(n for n in nodes if not os.access(root / "dev" / n, os.R_OK | os.W_OK)),
        pci=pci_gpus(root),
        dxg=(root / "dev/dxg").exists(),
        nouveau=(root / "sys/module/nouveau").is_dir(),
    )


def information_path(root: Path, address: str) -> Path:
    """Where the driver tells of a GPU."""
    return root / PROC / "gpus" / address / "information"


def main(arguments: list[str]) -> None:
    """Run in a child: read what the driver says of each GPU, which hangs where the driver does."""
    import json

    from provisioner.adapters._library import finish, start

    seconds, paths = json.loads(arguments[0])
    say = start(seconds)
    for path in paths:
        say({"call": path})
        try:
            with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                say({"call": path, "value": file.read()})
        except OSError as error:
            say({"call": path, "said": str(error)})
    finish(say)


def pci_gpus(root: Path) -> tuple[PciGpu, ...]:
    """NVIDIA's display and 3D controllers, by their address."""
    found = gpus_on_the_bus(str(root).rstrip("/"))
    return tuple(PciGpu(address=address, driver=driver) for address, driver in found)


def _is_node(name: str) -> bool:
    return name == _CONTROL_NODE or (
        name.startswith("nvidia") and name.removeprefix("nvidia").isdecimal()
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
