"""Names of files from the network: what of them may become a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.file_names import project_of


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("tensorrt_cu12_libs-10.1-py3-none-any.whl", "tensorrt-cu12-libs"),
        ("torch-2.11.0+cu128-cp311-cp311-manylinux_2_28_x86_64.whl", "torch"),
        ("Foo.Bar-1.0.tar.gz", "foo-bar"),
        ("foo-1.0.zip", "foo"),
        ("old-name-1.0-final-2.tar.bz2", "old-name"),
    ],
)
def test_a_file_of_a_package_lies_with_its_project(name: str, project: str) -> None:
    assert project_of(name) == project


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "index.html",
        "links.html",
        "../foo-1.0.tar.gz",
        "foo/../../bar-1.0.tar.gz",
        "foo-1.0-py3-none-any/../x.whl",
        "foo\\bar-1.0.tar.gz",
        ".foo-1.0.tar.gz",
        "foo-1.0\n.tar.gz",
        "foo-1.0\x00.tar.gz",
        "föö-1.0.tar.gz",
        '"><script>-1.0.tar.gz',
        "foo-1.0-py3-none.whl",
        "foo-1.0-index.html",
        "foo-1.0.exe",
        "foo.tar.gz",
        "_-1.0.tar.gz",
        f"{'a' * 250}-1.0.tar.gz",
    ],
)
def test_any_other_name_has_no_place(name: str) -> None:
    assert project_of(name) is None


@given(st.text(max_size=40), st.sampled_from(["", "-1.0.tar.gz", "-1.0-py3-none-any.whl"]))
def test_no_name_leads_out_of_its_folder(text: str, ending: str) -> None:
    name = text + ending
    project = project_of(name)
    if project is not None:
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set("/\\\"'<>&")
        assert not name.startswith(".")
        assert project.replace("-", "").isalnum()
