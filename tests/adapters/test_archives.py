"""Real archives, whole and broken: which are kept, and why others are not."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.archives import check_archive, project_file
from provisioner.errors import IntegrityError
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"


def causes(path: Path, name: str) -> tuple[str, ...]:
    """Why an archive is refused."""
    with pytest.raises(IntegrityError) as caught:
        check_archive(path, name)
    assert (caught.value.exit_code, caught.value.code) == (4, "archive-invalid")
    kind = "wheel" if name.endswith(".whl") else "source distribution"
    assert caught.value.message == f"`{name}` is not a valid {kind}"
    return caught.value.causes


def tar_of(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_what_real_tools_make_is_kept(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", size=100_000)
    check_archive(wheel, wheel.name)
    source = make_sdist(tmp_path, "Demo-Tool", "1.0")
    check_archive(source, source.name)


def test_a_file_of_another_kind_is_kept_whatever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"anything")
    check_archive(path, "demo-1.0-py3-none-any.whl.metadata")


@pytest.mark.parametrize("name", [WHEEL, "DEMO-1.0-py3-none-any.WHL", "demo-1.0.zip"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>log in first</html>", bytes(range(256)) * 200], ids=len
)
def test_what_is_no_zip_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "part"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="is not a valid") as caught:
        check_archive(path, name)
    (cause,) = caught.value.causes
    assert cause.startswith("it cannot be read as a zip file: ")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_wheel_that_was_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", size=10_000)
    content = wheel.read_bytes()
    wheel.write_bytes(content[: int(kept * len(content))])
    assert causes(wheel, wheel.name)[0].startswith("it cannot be read as a zip file: ")


def test_a_wheel_under_the_name_of_another_one_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0")
    assert causes(wheel, "other-2.0-py3-none-any.whl") == (
        "`demo-1.0.dist-info/METADATA` names `demo`, its file name `other`",
        "`demo-1.0.dist-info/METADATA` has version `1.0`, its file name `2.0`",
        "its folder is `demo-1.0.dist-info`, its file name says `other`",
    )


def test_a_wheel_that_would_unpack_elsewhere_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", files={"../../evil.py": b"", "a\\b": b""})
    assert causes(wheel, WHEEL) == (
        "the member `../../evil.py` leads out of the archive",
        "the member `a\\\\b` has a backslash in its name",
    )


def test_a_name_with_a_nul_is_seen_as_it_stands_in_the_archive(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", files={"demo/evil.py_.txt": b""})
    wheel.write_bytes(wheel.read_bytes().replace(b"evil.py_.txt", b"evil.py\0.txt"))
    assert causes(wheel, WHEEL) == ("the member `demo/evil.py\\x00.txt` has no proper name",)


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo/__init__.py", b"evil")
    assert causes(wheel, WHEEL) == ("the member `demo/__init__.py` is there 2 times",)


def test_a_wheel_whose_metadata_is_damaged_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", METADATA)
    wheel.write_bytes(wheel.read_bytes().replace(b"Name: demo\n", b"Name: evil\n"))
    assert "Bad CRC-32" in causes(wheel, WHEEL)[0]


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.bz2", ".tar.xz", ".tgz"])
def test_a_source_distribution_is_told_by_its_metadata(tmp_path: Path, ending: str) -> None:
    mode = "w:" + {".tgz": "gz"}.get(ending, ending.removeprefix(".tar."))
    path = tar_of(tmp_path / "part", {"demo-1.0/PKG-INFO": METADATA}, mode)
    check_archive(path, f"demo-1.0{ending}")
    assert causes(path, f"demo-2.0{ending}") == (
        "`PKG-INFO` has version `1.0`, its file name `2.0`",
    )


def test_a_zipped_source_distribution_is_told_by_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo-1.0/src/demo.egg-info/PKG-INFO", b"Name: other")
        archive.writestr("demo-1.0/PKG-INFO", METADATA)
    check_archive(path, "demo-1.0.zip")
    assert len(causes(path, "other-1.0.zip")) == 1


def test_metadata_at_the_end_of_a_source_distribution_counts(tmp_path: Path) -> None:
    members = {f"demo-1.0/{number}.py": b"" for number in range(500)}
    path = tar_of(tmp_path / "part", {**members, "demo-1.0/PKG-INFO": METADATA})
    assert len(causes(path, "other-1.0.tar.gz")) == 1


def test_an_archive_of_a_repository_is_kept(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "part", {"demo-main/pyproject.toml": b"", "demo-main/a.py": b""})
    check_archive(path, "demo-1.0.tar.gz")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>log in first</html>", gzip.compress(b"no tar", mtime=0)],
    ids=["empty", "html", "gzip"],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "part"
    path.write_bytes(content)
    (cause,) = causes(path, "demo-1.0.tar.gz")
    assert cause.startswith("it cannot be read as a tar file: ")


def test_a_source_distribution_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "part", {"demo-1.0/a": os.urandom(50_000)})
    path.write_bytes(path.read_bytes()[:20_000])
    (cause,) = causes(path, "demo-1.0.tar.gz")
    assert cause.startswith("it cannot be read as a tar file: ")


def test_metadata_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("demo-1.0/PKG-INFO")
        entry.type, entry.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(entry)
    check_archive(path, "demo-1.0.tar.gz")


def test_a_source_distribution_that_grows_without_end_is_not_unpacked(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as packed:
        entry = tarfile.TarInfo("demo-1.0/zeros")
        entry.size = 1 << 40
        packed.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(16):
            packed.write(bytes(1 << 20))
    path = tmp_path / "part"
    path.write_bytes(bomb.getvalue())
    # What it says is a terabyte; read to its end, it would be found to be cut short.
    check_archive(path, "demo-1.0.tar.gz")


# What stubs say.

PYPROJECT = b"[build-system]\n"


@pytest.mark.parametrize("folder", ["demo-1.0/", "", "./demo-1.0/"])
def test_the_project_file_lies_in_the_one_folder_or_at_the_top(tmp_path: Path, folder: str) -> None:
    members = {
        f"{folder}PKG-INFO": METADATA,
        f"{folder}a/b/pyproject.toml": b"other",
        f"{folder}pyproject.toml": PYPROJECT,
    }
    path = tar_of(tmp_path / "part", members)
    with path.open("rb") as source:
        assert project_file(source, "demo-1.0.tar.gz") == PYPROJECT


def test_the_project_file_of_a_zip_is_read_too() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("demo-1.0/pyproject.toml", PYPROJECT)
    assert project_file(content, "demo-1.0.zip") == PYPROJECT


def test_what_has_no_project_file_has_none(tmp_path: Path) -> None:
    made = make_sdist(tmp_path, "demo", "1.0", files={"setup.py": b""})
    path = tar_of(tmp_path / "part", {"demo-1.0/PKG-INFO": METADATA})
    assert project_file(io.BytesIO(path.read_bytes()), made.name) is None


@pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "demo-1.0.zip"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"PK\x03\x04", bytes(range(256))], ids=repr)
def test_what_is_no_archive_has_no_project_file(name: str, content: bytes) -> None:
    assert project_file(io.BytesIO(content), name) is None


def test_an_archive_that_was_cut_short_has_no_project_file(tmp_path: Path) -> None:
    content = make_sdist(tmp_path, "demo", "1.0").read_bytes()
    assert project_file(io.BytesIO(content[:60]), "demo-1.0.tar.gz") is None


def test_a_small_archive_that_gets_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    members = {"demo-1.0/zeros": bytes(4 << 20), "demo-1.0/pyproject.toml": PYPROJECT}
    path = tar_of(tmp_path / "part", members)
    assert path.stat().st_size < 64 << 10
    assert project_file(io.BytesIO(path.read_bytes()), "demo-1.0.tar.gz") is None


def test_a_link_in_the_place_of_the_project_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("demo-1.0/pyproject.toml")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert project_file(io.BytesIO(path.read_bytes()), "demo-1.0.tar.gz") is None
