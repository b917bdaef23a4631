"""The packages of a lock, as far as judging what is in them goes."""

from __future__ import annotations

import pytest

from provisioner.core.interpreter import Interpreter
from provisioner.core.packages import Package, read_locked, torch_index
from provisioner.errors import LockError

LOCK = """
lock-version = "1.0"

[[packages]]
name = "Tensorrt_Cu12"
version = "10.4.0"
index = "https://pypi.nvidia.com/"
sdist = { url = "https://pypi.nvidia.com/tensorrt-cu12/tensorrt_cu12-10.4.0.tar.gz" }

[[packages]]
name = "torch"
version = "2.10.0+cu128"
index = "https://download.pytorch.org/whl/cu128"
wheels = [
  { url = "https://download-r2.pytorch.org/whl/cu128/torch-2.10.0%2Bcu128-cp312-cp312-manylinux_2_28_x86_64.whl" },
  { name = "torch-2.10.0+cu128-cp312-cp312-win_amd64.whl", path = "wheels/torch.whl" },
]

[[packages]]
name = "pywin32"
version = "311"
marker = "sys_platform == 'win32'"

[[packages]]
name = "local"
directory = { path = "." }

[[packages]]
name = "archived"
version = "1"
archive = { url = "https://example.test/archived-1-py3-none-any.whl" }

[[packages]]
name = "packed"
version = "1"
archive = { url = "https://example.test/packed-1.tar.gz" }
"""  # noqa: E501 - addresses as they are

LINUX = {"sys_platform": "linux"}


def by_name(name: str, text: str = LOCK) -> Package:
    return next(package for package in read_locked(text).packages if package.name == name)


def test_names_are_read_in_their_normal_form() -> None:
    assert by_name("tensorrt-cu12").version == "10.4.0"


def test_wheels_are_told_by_their_file_names() -> None:
    assert by_name("torch").wheels == (
        "torch-2.10.0+cu128-cp312-cp312-manylinux_2_28_x86_64.whl",
        "torch-2.10.0+cu128-cp312-cp312-win_amd64.whl",
    )
    assert not by_name("torch").sdist


def test_where_a_package_is_from_is_its_index_and_its_files() -> None:
    assert by_name("tensorrt-cu12").urls == (
        "https://pypi.nvidia.com/",
        "https://pypi.nvidia.com/tensorrt-cu12/tensorrt_cu12-10.4.0.tar.gz",
    )


@pytest.mark.parametrize(
    ("name", "wheels", "sdist"),
    [
        ("tensorrt-cu12", 0, True),
        ("local", 0, True),
        ("archived", 1, False),
        ("packed", 0, True),
    ],
)
def test_what_can_be_built_counts_as_a_source(name: str, wheels: int, *, sdist: bool) -> None:
    package = by_name(name)
    assert (len(package.wheels), package.sdist) == (wheels, sdist)


def test_a_package_whose_marker_is_false_does_not_count() -> None:
    assert "pywin32" in {package.name for package in read_locked(LOCK).packages}
    assert "pywin32" not in {package.name for package in read_locked(LOCK, LINUX).packages}


@pytest.mark.parametrize("marker", ["not a marker", "extra == 'gpu'", "3"])
def test_a_marker_that_cannot_be_told_counts(marker: str) -> None:
    text = f'[[packages]]\nname = "torch"\nmarker = "{marker}"\n'
    assert [package.name for package in read_locked(text, LINUX).packages] == ["torch"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "packages = 3",
        "packages = [1]",
        "[[packages]]\nversion = '1'",
        "[[packages]]\nname = 1",
    ],
)
def test_what_is_not_understood_is_passed_over(text: str) -> None:
    assert read_locked(text).packages == ()


def test_odd_values_of_a_package_are_passed_over() -> None:
    text = (
        '[[packages]]\nname = "a"\nversion = 1\nwheels = [1, {url = 2}, {}]\nsdist = 4\nindex = 5'
    )
    assert read_locked(text).packages == (Package(name="a"),)


def test_a_lock_that_is_no_toml_is_malformed() -> None:
    with pytest.raises(LockError) as caught:
        read_locked("[", origin="uv.lock")
    assert caught.value.message == "lock `uv.lock` is malformed"
    assert caught.value.code == "lock-malformed"


@pytest.mark.parametrize(
    ("package", "label"),
    [
        (Package(name="torch", version="2.10.0+cu128"), "cu128"),
        (Package(name="torch", version="2.10.0+cpu"), "cpu"),
        (Package(name="torch", version="2.10.0+rocm6.3"), "rocm6.3"),
        (
            Package(
                name="torch",
                version="2.10.0",
                urls=(
                    "https://pypi.org/simple",
                    "https://download.pytorch.org/whl/cu126/torch-1.whl",
                ),
            ),
            "cu126",
        ),
        (Package(name="torch", version="2.10.0+local", urls=("https://pypi.org/simple",)), None),
        (Package(name="torch"), None),
    ],
)
def test_a_package_of_pytorchs_index_says_which(package: Package, label: str | None) -> None:
    assert package.torch_label == label


PYPI = ("https://pypi.org/simple", "https://files.pythonhosted.org/packages/a/torch.whl")
MANYLINUX = "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    "package",
    [
        Package(name="torch", version="2.11.0"),
        Package(name="torch", version="2.11.0", urls=PYPI, wheels=(MANYLINUX,)),
        Package(name="torch", version="2.11.0", urls=("https://download.pytorch.org/whl/cu130",)),
        # PyTorch's own wheels had plain tags up to 2.6, and mirrors have them too.
        Package(
            name="torch",
            version="2.5.1+cu121",
            urls=("https://mirror.test/simple",),
            wheels=("torch-2.5.1+cu121-cp312-cp312-linux_x86_64.whl",),
        ),
        # A mirror of PyPI, as companies run one.
        Package(
            name="torch",
            version="2.11.0",
            urls=("https://example.test/simple", "https://example.test/files/torch.whl"),
            wheels=(MANYLINUX,),
        ),
        Package(name="torch", version="2.11.0", urls=("http://127.0.0.1:8080/simple/",)),
        Package(name="torch", version="2.11.0+cpu"),
    ],
)
def test_a_build_of_pypi_a_mirror_or_pytorchs_index_is_pytorchs_own(package: Package) -> None:
    assert package.of_pytorch


@pytest.mark.parametrize(
    "package",
    [
        Package(name="torch", version="2.11.0+mybuild", urls=PYPI),
        Package(name="torch", version="2.8.0a0+5228986c39.nv25.6"),
        Package(name="torch", version="2.11.0+cu", urls=PYPI),
        Package(
            name="torch",
            version="2.11.0",
            urls=("https://example.test/simple",),
            wheels=(MANYLINUX, "torch-2.11.0-cp313-cp313-linux_x86_64.whl"),
        ),
        Package(name="torch", version="2.11.0", urls=PYPI, sdist=True),
        Package(name="torch", version="2.11.0+cu128", sdist=True),
        Package(
            name="torch", version="2.11.0", wheels=("torch-2.11.0-cp312-cp312-linux_aarch64.whl",)
        ),
    ],
)
def test_any_other_build_of_pytorch_is_somebody_elses(package: Package) -> None:
    assert not package.of_pytorch


@pytest.mark.parametrize(
    "source",
    [
        'vcs = { type = "git", url = "https://github.com/pytorch/pytorch", commit-id = "aa" }',
        'directory = { path = "../pytorch" }',
        'archive = { url = "https://files.pythonhosted.org/torch-2.11.0.tar.gz" }',
        'sdist = { url = "https://files.pythonhosted.org/torch-2.11.0.tar.gz" }',
        'archive = { url = "https://example.test/torch-2.11.0-cp312-cp312-linux_x86_64.whl" }',
    ],
)
def test_pytorch_from_elsewhere_in_a_lock_is_somebody_elses(source: str) -> None:
    text = f'[[packages]]\nname = "torch"\nversion = "2.11.0"\n{source}\n'
    assert [package.of_pytorch for package in read_locked(text).packages] == [False]


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://download.pytorch.org/whl/cu128", "cu128"),
        ("https://download.pytorch.org/whl/nightly/cu132/", "cu132"),
        ("https://download-r2.pytorch.org/whl/cpu/torch.whl", "cpu"),
        ("https://example.test/whl/cu128", None),
        ("https://evilpytorch.org/whl/cu128", None),
        ("https://download.pytorch.org/", None),
        ("not a url", None),
    ],
)
def test_an_address_of_pytorchs_index_says_which(url: str, label: str | None) -> None:
    assert torch_index(url) == label


@pytest.mark.parametrize(
    ("python", "taken"),
    [
        *(("3.11", True), ("3.12", True), ("3.11.4", True), ("3.11.3", False)),
        *(("3.10", False), ("2.7", False), ("3.13t", True), ("99.9", True)),
    ],
)
def test_a_lock_is_for_the_pythons_that_it_names(python: str, *, taken: bool) -> None:
    lock = read_locked('requires-python = ">=3.11.4"')
    version = python.removesuffix("t")
    found = lock.takes(Interpreter(version=version, free_threaded=python.endswith("t")))
    assert found is taken


@pytest.mark.parametrize("text", ["", 'requires-python = "?"', "requires-python = 3"])
def test_a_lock_that_names_no_python_is_for_every_one(text: str) -> None:
    assert read_locked(text).takes(Interpreter(version="2.7"))
