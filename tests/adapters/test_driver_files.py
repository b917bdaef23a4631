"""What `/proc`, `/sys` and `/dev` tell, below a root that tests make."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._child import Limit, python_command, run
from provisioner.adapters.driver_files import information_path, pci_gpus, read_driver_files
from provisioner.adapters.driver_libraries import library_candidates, read_note
from provisioner.core.evidence import Files, PciGpu, read_lines, split_lines
from tests.core.examples import LINUX as PLAIN
from tests.simulators.roots import make_root, put, put_gpu, put_pci

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")


def test_an_empty_root_tells_nothing(tmp_path: Path) -> None:
    assert read_driver_files(tmp_path) == Files()


def test_a_whole_machine_is_read(tmp_path: Path) -> None:
    make_root(tmp_path, driver="580.65.06", nodes=2, pci={"0000:01:00.0": "nvidia"})
    put_gpu(tmp_path, "0000:01:00.0", 0, name="NVIDIA H100", uuid="GPU-1")
    for other in ("nvidia-uvm", "nvidia-modeset", "null"):
        put(tmp_path, f"dev/{other}")
    files = read_driver_files(tmp_path)
    assert files.module_version == "580.65.06\n"
    assert files.version is not None
    assert "580.65.06" in files.version
    assert files.nodes == ("nvidia0", "nvidia1", "nvidiactl")
    assert files.gpu_nodes == ("nvidia0", "nvidia1")
    assert [gpu.address for gpu in files.gpus] == ["0000:01:00.0"]
    assert files.pci == (PciGpu(address="0000:01:00.0", driver="nvidia"),)
    assert files.loaded


def test_what_the_driver_says_of_a_gpu_is_read_in_a_child(tmp_path: Path) -> None:
    put_gpu(tmp_path, "0000:01:00.0", 0, name="NVIDIA H100", uuid="GPU-1")
    (gpu,) = read_driver_files(tmp_path).gpus
    assert gpu.information is None
    paths = [str(information_path(tmp_path, name)) for name in (gpu.address, "gone")]
    command = python_command("provisioner.adapters.driver_files", [], json.dumps([5, paths]))
    ran = run(command, {}, Limit(20, lambda _: None), lambda _: "it")
    first, second = read_lines(split_lines(ran.output)).answers
    assert (first.call, first.failed) == (paths[0], False)
    assert "NVIDIA H100" in first.value
    assert (second.call, second.failed) == (paths[1], True)


def test_a_file_of_the_driver_that_never_ends_is_named(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    command = python_command("provisioner.adapters.driver_files", [], json.dumps([5, [pipe]]))
    ran = run(command, {}, Limit(0.6, lambda _: None), lambda _: "it")
    assert ran.timed_out
    assert read_lines(split_lines(ran.output)).waiting == pipe


def test_only_nvidias_display_and_3d_controllers_are_gpus(tmp_path: Path) -> None:
    put_pci(tmp_path, "0000:01:00.0", "nouveau", **{"class": "0x030000"})
    put_pci(tmp_path, "0000:01:00.1", "snd_hda_intel", **{"class": "0x040300"})
    put_pci(tmp_path, "0000:02:00.0", None)
    put_pci(tmp_path, "0000:03:00.0", "amdgpu", vendor="0x1002")
    assert pci_gpus(tmp_path) == (
        PciGpu(address="0000:01:00.0", driver="nouveau"),
        PciGpu(address="0000:02:00.0", driver=None),
    )


def test_marks_of_other_drivers_are_seen(tmp_path: Path) -> None:
    put(tmp_path, "dev/dxg")
    put(tmp_path, "sys/module/nouveau/refcnt")
    files = read_driver_files(tmp_path)
    assert (files.dxg, files.nouveau, files.loaded, files.reachable) == (True, True, False, True)


def test_a_node_that_this_user_may_not_open_is_blocked(tmp_path: Path) -> None:
    make_root(tmp_path, nodes=1)
    (tmp_path / "dev/nvidia0").chmod(0)
    blocked = read_driver_files(tmp_path).blocked
    assert blocked == (() if os.getuid() == 0 else ("nvidia0",))


# Libraries


def library(root: Path, folder: str, name: str = "libnvidia-ml.so.1") -> str:
    return str(put(root, f"{folder}/{name}"))


def test_nothing_of_this_machine_speaks_for_another_root(tmp_path: Path) -> None:
    assert library_candidates("libnvidia-ml.so.1", tmp_path, PLAIN) == []
    here = library(tmp_path, "usr/lib/x86_64-linux-gnu")
    assert library_candidates("libnvidia-ml.so.1", tmp_path, PLAIN) == [here]


def test_wsls_library_comes_first(tmp_path: Path) -> None:
    wsl = replace(PLAIN, kind="wsl2")
    stub, real = library(tmp_path, "usr/lib"), library(tmp_path, "usr/lib/wsl/lib")
    assert library_candidates("libnvidia-ml.so.1", tmp_path, wsl) == [real, stub]


def test_folders_outside_of_the_loaders_search_come_last(tmp_path: Path) -> None:
    apart = [
        library(tmp_path, folder)
        for folder in (
            "usr/lib64/nvidia",
            "usr/lib/x86_64-linux-gnu/nvidia/current",
            "usr/local/nvidia/lib64",
            "run/opengl-driver/lib",
        )
    ]
    usual = library(tmp_path, "usr/lib64")
    assert library_candidates("libnvidia-ml.so.1", tmp_path, PLAIN) == [usual, *apart]


def test_a_file_without_a_note_or_without_content_has_none(tmp_path: Path) -> None:
    assert read_note(None) is None
    assert read_note(str(tmp_path / "missing")) is None
    assert read_note(str(put(tmp_path, "empty"))) is None
    assert read_note(str(put(tmp_path, "text", "not a library"))) is None
