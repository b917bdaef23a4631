"""`simple/` of a store: links and pages that real clients install from, whatever happens."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from provisioner.adapters.static_index import StaticIndex
from provisioner.adapters.store import Store, blob_path
from provisioner.core.digest import Digest
from provisioner.core.pages import named_files
from provisioner.core.simple_index import HTML_PAGE
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.wheels import make_wheel

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a folder whose name has a space."""
    made = Store(tmp_path / "a store")
    made.open()
    return made


def put(root: Path, content: bytes) -> tuple[Digest, Path]:
    """A blob."""
    digest = Digest(hashlib.sha256(content).hexdigest())
    path = blob_path(root, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest, path


def add(store: Store, name: str, content: bytes) -> Digest:
    digest, path = put(store.root, content)
    StaticIndex(store.root).add(digest, name, path)
    return digest


def listed(root: Path, project: str = "") -> dict[str, str]:
    """The files on a page, with the hashes that it tells."""
    page = root / "simple" / project / ("index.html" if project else "links.html")
    body = page.read_bytes() if page.is_file() else b""
    files = named_files(body, {"content-type": HTML_PAGE}, f"https://x.test/simple/{project}/")
    return {file.name: file.digest.hex for file in files}


def projects(root: Path) -> list[str]:
    text = (root / "simple" / "index.html").read_text(encoding="utf-8")
    return [line.split('"')[1].strip("/") for line in text.splitlines() if "href" in line]


def test_a_blob_is_linked_and_listed_under_its_name(store: Store) -> None:
    digest = add(store, WHEEL, b"demo")
    other = add(store, "Other_One-2.tar.gz", b"other")
    link = store.root / "simple" / "demo" / WHEEL
    assert link.readlink() == Path(f"../../blobs/sha256/{digest.hex[:2]}/{digest.hex}")
    assert link.read_bytes() == b"demo"
    assert listed(store.root, "demo") == {WHEEL: digest.hex}
    assert listed(store.root, "other-one") == {"Other_One-2.tar.gz": other.hex}
    assert listed(store.root) == {WHEEL: digest.hex, "Other_One-2.tar.gz": other.hex}
    assert projects(store.root) == ["demo", "other-one"]
    assert StaticIndex(store.root).link(digest, WHEEL) == link


@pytest.mark.parametrize("name", ["../../x-1.tar.gz", "index.html", "x", "/etc/x-1.tar.gz", ""])
def test_a_name_that_is_none_of_a_package_is_let_pass(store: Store, name: str) -> None:
    digest = add(store, name, b"x")
    assert not (store.root / "simple").exists()
    assert StaticIndex(store.root).link(digest, name) is None


def test_what_is_there_is_not_written_again(store: Store) -> None:
    digest = add(store, WHEEL, b"demo")
    files = [path for path in (store.root / "simple").rglob("*") if not path.is_dir()]
    before = {path: path.lstat().st_mtime_ns for path in files}
    (store.root / "notes.lock").unlink()
    StaticIndex(store.root).add(digest, WHEEL, blob_path(store.root, digest))
    assert {path: path.lstat().st_mtime_ns for path in files} == before
    assert not (store.root / "notes.lock").exists()


@pytest.mark.parametrize("text", ["", "half a pa", "\udcff"])
def test_a_page_that_a_crash_has_left_is_written_anew(store: Store, text: str) -> None:
    digest = add(store, WHEEL, b"demo")
    page = store.root / "simple" / "demo" / "index.html"
    page.write_bytes(text.encode("utf-8", "surrogateescape"))
    add(store, WHEEL, b"demo")
    assert listed(store.root, "demo") == {WHEEL: digest.hex}


@pytest.mark.parametrize("page", ["links.html", "index.html"])
@pytest.mark.parametrize("text", [None, "", "half a pa"])
def test_a_page_of_all_that_is_not_whole_is_written_anew(
    store: Store, page: str, text: str | None
) -> None:
    first = add(store, WHEEL, b"demo")
    path = store.root / "simple" / page
    path.unlink()
    if text is not None:
        path.write_text(text)
    other = add(store, "other-1.tar.gz", b"other")
    assert listed(store.root) == {WHEEL: first.hex, "other-1.tar.gz": other.hex}
    assert projects(store.root) == ["demo", "other"]


def test_files_that_come_one_by_one_are_listed_once_each(store: Store) -> None:
    for number in range(6):
        add(store, f"demo-{number // 2}.tar.gz", b"%d" % number)
        add(store, f"other{number}-1.tar.gz", b"other %d" % number)
    pages = store.root / "simple"
    one_by_one = {name: set(lines(pages / name)) for name in ("links.html", "index.html")}
    count = {name: len([x for x in lines(pages / name) if "<a" in x]) for name in one_by_one}
    assert count == {"links.html": 3 + 6, "index.html": 1 + 6}
    StaticIndex(store.root).mend()
    assert {name: set(lines(pages / name)) for name in one_by_one} == one_by_one


def lines(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()


def test_other_bytes_of_a_name_get_a_folder_and_are_not_listed(store: Store) -> None:
    first = add(store, WHEEL, b"first")
    second = add(store, WHEEL, b"second")
    index = StaticIndex(store.root)
    assert listed(store.root, "demo") == listed(store.root) == {WHEEL: first.hex}
    link = index.link(second, WHEEL)
    assert link == store.root / "simple" / "demo" / second.hex / WHEEL
    assert link.read_bytes() == b"second"
    assert index.link(first, WHEEL) == store.root / "simple" / "demo" / WHEEL


def test_other_bytes_are_listed_when_the_first_are_gone_and_keep_their_link(store: Store) -> None:
    first, second = add(store, WHEEL, b"first"), add(store, WHEEL, b"second")
    blob_path(store.root, first).unlink()
    StaticIndex(store.root).mend()
    assert listed(store.root, "demo") == {WHEEL: second.hex}
    folder = store.root / "simple" / "demo"
    assert (folder / WHEEL).read_bytes() == b"second"
    assert (folder / second.hex / WHEEL).read_bytes() == b"second"


def test_what_comes_back_after_it_was_gone_takes_the_name(store: Store) -> None:
    first = add(store, WHEEL, b"first")
    blob_path(store.root, first).unlink()
    second = add(store, WHEEL, b"second")
    assert listed(store.root, "demo") == {WHEEL: second.hex}


def test_a_link_that_leads_nowhere_is_never_listed(store: Store) -> None:
    gone = add(store, WHEEL, b"demo")
    stays = add(store, "other-1.tar.gz", b"other")
    blob_path(store.root, gone).unlink()
    index = StaticIndex(store.root)
    index.refresh([WHEEL, "never-1.tar.gz", "../x"])
    assert listed(store.root) == {"other-1.tar.gz": stays.hex}
    assert not (store.root / "simple" / "demo").exists()
    assert projects(store.root) == ["other"]
    assert index.link(gone, WHEEL) is None


def test_mending_removes_what_a_process_that_was_ended_left(store: Store) -> None:
    add(store, WHEEL, b"first")
    second = add(store, WHEEL, b"second")
    for folder in ("", second.hex):
        (store.root / "simple" / "demo" / folder / ".0123456789ab").symlink_to("nowhere")
    StaticIndex(store.root).mend()
    assert [path.name for path in (store.root / "simple").rglob(".*")] == []


def test_a_blob_of_a_store_below_is_linked_where_it_lies(store: Store, tmp_path: Path) -> None:
    digest, path = put(tmp_path / "below", b"demo")
    StaticIndex(store.root).add(digest, WHEEL, path)
    assert (store.root / "simple" / "demo" / WHEEL).readlink() == path
    own, there = put(store.root, b"demo")
    StaticIndex(store.root).add(own, WHEEL, there)
    assert not (store.root / "simple" / "demo" / WHEEL).readlink().is_absolute()


def _add_many(root: Path, project: str, start: int) -> None:
    store = Store(root)
    for number in range(start, start + 10):
        add(store, f"{project}-{number}.0.tar.gz", f"{project} {number}".encode())


def test_processes_that_add_at_once_lose_nothing(store: Store) -> None:
    with ProcessPoolExecutor(4) as pool:
        jobs = [
            pool.submit(_add_many, store.root, project, start)
            for project, start in (("a", 0), ("a", 10), ("a", 20), ("b", 0))
        ]
        for job in jobs:
            job.result()
    assert len(listed(store.root, "a")) == 30
    assert len(listed(store.root)) == 40
    assert projects(store.root) == ["a", "b"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a store with a package, and another one that needs it."""
    root = tmp_path_factory.mktemp("clients")
    store = Store(root / "a store")
    store.open()
    for wheel in (
        make_wheel(root, "needed", "1.0"),
        make_wheel(root, "needed", "2.0+cu12"),
        make_wheel(root, "demo", "1.0", requires=["needed"]),
    ):
        add(store, wheel.name, wheel.read_bytes())
    return store.root


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def where(root: Path, page: str) -> str:
    return (root / "simple" / page).as_uri().rstrip("/")


@pytest.mark.parametrize("words", [("--no-index", "--find-links"), ("--default-index",)])
def test_uv_installs_from_the_pages_as_files(
    filled: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    page = "links.html" if "--find-links" in words else ""
    command: list[str | Path] = [
        uv_binary(),
        "pip",
        "install",
        "--target",
        tmp_path / "t",
        "--no-cache",
    ]
    done = subprocess.run(
        [*command, *words, where(filled, page), "demo", "needed==1.0"],
        env=clean_environment(tmp_path, UV_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"demo-1.0.dist-info", "needed-1.0.dist-info"} <= names(tmp_path / "t")


@pytest.mark.parametrize(
    "words",
    [
        ("--no-index", "--find-links", "links.html"),
        ("--index-url", ""),
    ],
)
def test_pip_installs_from_the_pages_as_files(
    filled: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    import ensurepip

    # The pip that comes with Python, run out of its own wheel.
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    *options, page = words
    command: list[str | Path] = [
        sys.executable,
        pip / "pip",
        "install",
        "-q",
        "--target",
        tmp_path / "t",
    ]
    done = subprocess.run(
        [*command, *options, where(filled, page), "demo", "needed==1.0"],
        env=clean_environment(tmp_path, PIP_CONFIG_FILE="/dev/null", PIP_NO_CACHE_DIR="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"demo-1.0.dist-info", "needed-1.0.dist-info"} <= names(tmp_path / "t")
