"""Which index has a project."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.profile import Index
from provisioner.core.routes import PYPI, Routes, locked_indexes, project_page

NVIDIA = "https://pypi.nvidia.com/"
MINE = "https://mine.test/simple/"
CLAIM = Index(name="nvidia", url=NVIDIA, packages=("tensorrt*",))
CU126 = Index(name="torch", url="https://download.pytorch.org/whl/cu126", packages=("torch",))
CU128 = Index(name="torch", url="https://download.pytorch.org/whl/cu128", packages=("torch",))
LOCK = """
[[package]]
name = "Torch"
source = { registry = "https://download.pytorch.org/whl/cu126" }
[[package]]
name = "torch"
source = { registry = "https://download.pytorch.org/whl/cu128/" }
[[package]]
name = "app"
source = { virtual = "." }
[[package]]
name = "local"
source = { registry = "wheels" }
[[package]]
name = "odd"
source = 1
"""


def test_the_lock_is_stronger_than_sources_and_these_than_profiles() -> None:
    routes = Routes(
        locked={"tensorrt": (MINE,)},
        sources={"tensorrt": ("a",), "tensorrt-b": ("b",)},
        claims=(CLAIM,),
    )
    assert routes.of("tensorrt").indexes == (MINE,)
    assert routes.of("tensorrt-b").indexes == ("b",)
    assert routes.of("tensorrt-c").indexes == (NVIDIA,)
    assert routes.of("numpy").indexes == (PYPI,)


def test_of_what_no_index_is_named_for_the_first_that_has_it_is_the_only_one() -> None:
    assert not Routes(order=(MINE, PYPI)).of("numpy").together
    assert Routes(sources={"numpy": (MINE, PYPI)}).of("numpy").together


def test_a_project_that_profiles_bind_to_several_indexes_is_bound_to_none() -> None:
    assert Routes(claims=(CU126, CU128)).of("torch").indexes == (PYPI,)
    assert Routes(claims=(CU126, CU126)).of("torch").indexes == (CU126.url,)


def test_a_lock_names_the_indexes_of_its_packages_each_once() -> None:
    assert locked_indexes(tomllib.loads(LOCK)) == {
        "torch": (CU126.url, f"{CU128.url}/"),
    }
    assert locked_indexes({"package": 1}) == {}


@given(st.text(), st.lists(st.sampled_from([CLAIM, CU126, CU128])))
def test_every_project_has_one_route_always_the_same(name: str, claims: list[Index]) -> None:
    routes = Routes(claims=tuple(claims))
    assert routes.of(name) == routes.of(name)
    assert routes.of(name).indexes


def test_all_indexes_that_may_be_asked_are_what_binds_a_project_and_then_the_order() -> None:
    routes = Routes(
        locked={"demo": ("https://lock.test/",)},
        sources={"demo": ("https://source.test/", "https://lock.test")},
        claims=(Index(name="a", url="https://claim.test/", packages=("demo*",)),),
        order=("https://first.test/", PYPI),
    )
    order = ("https://first.test/", PYPI)
    bound = ("https://lock.test/", "https://source.test/", "https://claim.test/")
    assert routes.all_of("demo") == (*bound, *order)
    assert routes.all_of("other") == order


def test_a_project_is_asked_for_where_uv_asks() -> None:
    assert project_page("https://index.test/simple", "demo") == "https://index.test/simple/demo/"
    assert project_page("https://index.test/a//", "demo") == "https://index.test/a//demo/"
    assert project_page("https://index.test?x=1", "demo") == "https://index.test/demo/?x=1"
    assert project_page("https://flat.test/all.html", "demo") == "https://flat.test/all.html"
