"""A wheel that was made out of an environment installs the same files again."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.archives import check_archive
from provisioner.adapters.packing import installed_in, pack
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

INFO = "my_pkg-1.0.dist-info"
DATA = "my_pkg-1.0.data"
FILES = {
    "my_pkg/__init__.py": b"def main(): print('hello from', __name__)\n",
    "my_pkg/fast.so": b"\x7fELF\x00 code",
    "ns/inner/mod.py": b"y = 1\n",
    "pure.pth": b"# a line\n",
    "g\xfcnther/\xe9.txt": "\xe9".encode(),
    f"{DATA}/scripts/run-me": b"#!python\nimport sys; print('run by', sys.prefix)\n",
    f"{DATA}/scripts/shell.sh": b"#!/bin/sh\necho hello\n",
    f"{DATA}/headers/my.h": b"#define X\n",
    f"{DATA}/data/share/my/d.txt": b"d\n",
    f"{DATA}/platlib/plat.py": b"x = 1\n",
    f"{INFO}/entry_points.txt": b"[console_scripts]\nMy-Tool = my_pkg:main\n",
    f"{INFO}/licenses/LICENSE": b"MIT\n",
}
OF_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
PATHS = ("plain", "with space", "l" * 130)
"""Where environments lie: scripts begin in another way where the path is long or has spaces."""


def uv(home: Path, *words: str | Path) -> None:
    done = subprocess.run(
        [uv_binary(), *words], env=clean_environment(home), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of this module work."""
    return tmp_path_factory.mktemp("packing")


@pytest.fixture(scope="module")
def original(root: Path) -> Path:
    """A wheel with something for every place, of which one file is executable."""
    plain = make_wheel(root / "plain-wheel", "My.Pkg", "1.0", files=FILES)
    made = root / plain.name
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith(".so"):
                entry.external_attr |= 0o111 << 16
            target.writestr(entry, source.read(entry))
    return made


@pytest.fixture(scope="module")
def environments(root: Path, original: Path) -> dict[str, Path]:
    """Environments into which uv has installed it."""
    found = {}
    for name in PATHS:
        found[name] = root / "envs" / name
        uv(root, "venv", "-q", "--python", sys.executable, found[name])
        uv(root, "pip", "install", "-q", "--python", found[name], original)
    return found


def packed(environment: Path) -> bytes:
    installed = installed_in(environment, "my-pkg")
    assert installed is not None
    file = io.BytesIO()
    assert pack(environment, installed, file) == "my_pkg-1.0-py3-none-any.whl"
    return file.getvalue()


def contents(environment: Path) -> dict[str, tuple[bytes, bool]]:
    """What an installer says that it has put there, and whether it can be executed."""
    (site,) = environment.glob("lib/*/site-packages")
    rows = csv.reader(io.StringIO((site / INFO / "RECORD").read_text(encoding="utf-8")))
    paths = [row[0] for row in rows]
    return {
        path: (
            (site / path).read_bytes().replace(str(environment).encode(), b"ENV"),
            bool((site / path).stat().st_mode & 0o100),
        )
        for path in paths
        if "__pycache__" not in path
        and path.rpartition("/")[2] not in OF_INSTALLERS
        # Each installer has its own words in it.
        and not path.endswith("bin/My-Tool")
    }


def test_equal_distributions_make_equal_wheels_wherever_they_lie(
    environments: dict[str, Path],
) -> None:
    made = {packed(environment) for environment in environments.values()}
    assert len(made) == 1


def test_a_packed_wheel_has_the_files_of_the_original(
    environments: dict[str, Path], original: Path, tmp_path: Path
) -> None:
    made = tmp_path / original.name
    made.write_bytes(packed(environments["plain"]))
    check_archive(made, made.name)
    moved = {f"{DATA}/platlib/plat.py": "plat.py"}
    with zipfile.ZipFile(original) as first, zipfile.ZipFile(made) as second:
        record = f"{INFO}/RECORD"
        expected = {moved.get(name, name): first.read(name) for name in first.namelist()}
        found = {name: second.read(name) for name in second.namelist()}
        assert {**found, record: b""} == {**expected, record: b""}
        assert {entry.date_time[0] for entry in second.infolist()} == {1980}
        rows = list(csv.reader(io.StringIO(found[record].decode())))
    assert sorted(row[0] for row in rows) == sorted(found)


def test_uv_installs_the_same_again(
    root: Path, environments: dict[str, Path], tmp_path: Path
) -> None:
    before = environments["plain"]
    wheel = tmp_path / "my_pkg-1.0-py3-none-any.whl"
    wheel.write_bytes(packed(before))
    after = root / "envs" / "again"
    uv(root, "venv", "-q", "--python", sys.executable, after)
    uv(root, "pip", "install", "-q", "--no-cache", "--python", after, wheel)
    assert contents(after) == contents(before)
    assert contents(after)["my_pkg/fast.so"][1]
    for command, said in (("run-me", f"run by {after}"), ("My-Tool", "hello from my_pkg")):
        done = subprocess.run([after / "bin" / command], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == said


def test_pip_installs_the_same_again(
    root: Path, environments: dict[str, Path], tmp_path: Path
) -> None:
    before = environments["plain"]
    wheel = tmp_path / "my_pkg-1.0-py3-none-any.whl"
    wheel.write_bytes(packed(before))
    after = root / "envs" / "by-pip"
    variables = clean_environment(root, PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")
    subprocess.run([sys.executable, "-m", "venv", after], env=variables, check=True)
    pip = (after / "bin" / "python", "-m", "pip")
    subprocess.run([*pip, "install", "-q", "--no-compile", wheel], env=variables, check=True)
    found = contents(after)
    # pip names this folder as the metadata do, uv in the normal form.
    headers = {path: path.replace("/My.Pkg/", "/my-pkg/") for path in found}
    assert {headers[path]: value for path, value in found.items()} == contents(before)


def test_a_distribution_that_is_not_there_is_none(environments: dict[str, Path]) -> None:
    assert installed_in(environments["plain"], "my-other-pkg") is None


@pytest.mark.parametrize("path", ["my_pkg/__init__.py", "../../../bin/run-me"])
def test_what_was_changed_after_it_was_installed_is_not_packed(
    root: Path, original: Path, tmp_path: Path, path: str
) -> None:
    environment = tmp_path / "edited"
    uv(root, "venv", "-q", "--python", sys.executable, environment)
    uv(root, "pip", "install", "-q", "--link-mode=copy", "--python", environment, original)
    (site,) = environment.glob("lib/*/site-packages")
    edited = (site / path).resolve()
    edited.write_bytes(edited.read_bytes() + b"print('edited')\n")
    with pytest.raises(ValueError, match=f"{edited.name}` was changed after it was installed"):
        packed(environment)


def test_a_record_that_is_no_table_is_told(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "python3.11" / "site-packages" / INFO
    info.mkdir(parents=True)
    (info / "RECORD").write_text("x" * 200_000, encoding="utf-8")
    with pytest.raises(ValueError, match="its `RECORD` cannot be read"):
        installed_in(tmp_path, "my-pkg")
