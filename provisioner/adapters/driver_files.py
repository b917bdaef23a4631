"""What files tell of the NVIDIA driver and its GPUs: `/proc`, `/sys` and `/dev`.

None of these files wakes a GPU. All of them are below a root, which may be another machine's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from provisioner.core.evidence import Files, KnownGpu, PciGpu

if TYPE_CHECKING:
    from pathlib import Path

_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
"""PCI class of VGA and 3D controllers."""
_PROC: Final = "proc/driver/nvidia"
_CONTROL_NODE: Final = "nvidiactl"


def read_driver_files(root: Path) -> Files:
    """Read what can be read without asking the driver for anything."""
    nodes = tuple(sorted(filter(_is_node, _names(root / "dev"))))
    return Files(
        module_version=_text(root / "sys/module/nvidia/version"),
        version=_text(root / _PROC / "version"),
        gpus=tuple(KnownGpu(address=name) for name in sorted(_names(root / _PROC / "gpus"))),
        nodes=nodes,
        blocked=tuple(n for n in nodes if not os.access(root / "dev" / n, os.R_OK | os.W_OK)),
        pci=pci_gpus(root),
        dxg=(root / "dev/dxg").exists(),
        nouveau=(root / "sys/module/nouveau").is_dir(),
    )


def information_path(root: Path, address: str) -> Path:
    """Where the driver tells of a GPU."""
    return root / _PROC / "gpus" / address / "information"


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
    folder = f"{root}/sys/bus/pci/devices"
    found = []
    for address in sorted(_names(folder)):
        if _first(f"{folder}/{address}/vendor") != _NVIDIA:
            continue
        if _first(f"{folder}/{address}/class").startswith(_DISPLAY_CLASS):
            found.append(PciGpu(address=address, driver=_driver(f"{folder}/{address}/driver")))
    return tuple(found)


def _is_node(name: str) -> bool:
    return name == _CONTROL_NODE or (
        name.startswith("nvidia") and name.removeprefix("nvidia").isdecimal()
    )


def _driver(path: str) -> str | None:
    try:
        return os.path.basename(os.readlink(path))  # noqa: PTH115, PTH119 - see `_first`
    except OSError:
        return None


def _names(folder: Path | str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - see `_first`
    except OSError:
        return []


def _first(path: str) -> str:
    """The beginning of a file; hosts have hundreds of PCI devices, so without ceremony."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 16).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
