"""The index simulator, over plain sockets and with the real uv."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import HTML_TYPE, JSON_TYPE, Flavour, IndexSimulator, parse_range
from tests.simulators.wheels import make_sdist, make_tinybuild, make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FLAVOURS: tuple[Flavour, ...] = ("nvidia", "pypi")
DEMO = "demo_pkg-1.0-py3-none-any.whl"


def fetch(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one request, redirects not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, parts.path, headers=dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read()
    finally:
        connection.close()


def run_uv(home: Path, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run uv with nothing but the simulators to talk to."""
    return subprocess.run(
        [str(uv_binary()), *map(str, arguments)],
        cwd=home,
        env=clean_environment(home, **extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def make_venv(home: Path) -> Path:
    """Return the Python of a new virtual environment."""
    venv = home / "venv"
    done = run_uv(home, "venv", "--python", sys.executable, venv)
    assert done.returncode == 0, done.stderr
    return venv / "bin" / "python"


def run_python(python: Path, code: str) -> str:
    """Return what code prints in a virtual environment."""
    done = subprocess.run(
        [str(python), "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_wheels_are_valid_and_equal_every_time(tmp_path: Path) -> None:
    made = [
        make_wheel(
            tmp_path / folder,
            "Demo.Pkg",
            "1.0",
            tag="cp311-abi3-manylinux_2_28_x86_64.manylinux2014_x86_64",
            requires=["other>=1"],
            extras={"fast": ["speed ; python_version >= '3'"]},
            files={"demo_pkg/data.txt": b"data"},
            size=3_000_000,
        )
        for folder in ("a", "b")
    ]
    first, second = (path.read_bytes() for path in made)
    assert first == second
    with zipfile.ZipFile(made[0]) as wheel:
        assert wheel.testzip() is None
        metadata = wheel.read("demo_pkg-1.0.dist-info/METADATA").decode()
        record = wheel.read("demo_pkg-1.0.dist-info/RECORD").decode().splitlines()
        assert len(record) == len(wheel.namelist())
        assert wheel.getinfo("demo_pkg/padding.bin").file_size == 3_000_000
        tags = wheel.read("demo_pkg-1.0.dist-info/WHEEL").decode()
    speed = """Requires-Dist: speed ; (python_version >= '3') and extra == "fast\""""
    assert speed in metadata.splitlines()
    assert "Tag: cp311-abi3-manylinux2014_x86_64" in tags.splitlines()
    other = make_wheel(tmp_path / "c", "Demo.Pkg", "1.1", size=1000)
    assert other.read_bytes()[-1000:] != first[-1000:]


def test_sdists_are_equal_every_time(tmp_path: Path) -> None:
    first, second = (
        make_sdist(tmp_path / folder, "demo", "1", requires=["x"]).read_bytes() for folder in "ab"
    )
    assert first == second


def test_nvidia_page(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "Demo.Pkg", "1.0", requires_python=">=3.8")
    with IndexSimulator() as index:
        listed = index.publish(wheel)
        status, headers, body = fetch(f"{index.index_url}demo-pkg/", {"Accept": JSON_TYPE})
        assert status == 200
        assert headers["content-type"].startswith("text/html")
        assert headers["cache-control"] == "max-age=0, no-cache, no-store"
        assert f'<a href="{DEMO}#sha256={listed.sha256}">{DEMO}</a>' in body.decode()
        assert b"metadata" not in body
        moved, headers, _ = fetch(f"{index.index_url}demo-pkg")
        assert (moved, headers["location"]) == (301, "/demo-pkg/")
        assert fetch(f"{index.index_url}Demo.Pkg/")[0] == 404
        assert fetch(f"{index.index_url}unknown/")[0] == 404
        assert fetch(f"{index.file_url(DEMO)}.metadata")[0] == 404
        assert b"demo-pkg/" in fetch(index.index_url)[2]


def test_nvidia_file(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=1000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        status, headers, body = fetch(index.file_url(DEMO))
        assert urlsplit(index.file_url(DEMO)).path == f"/demo-pkg/{DEMO}"
        assert (status, body) == (200, content)
        assert headers["cache-control"] == "max-age=0, no-cache, no-store"
        assert headers["pragma"] == "no-cache"
        assert headers["accept-ranges"] == "bytes"
        assert headers["content-length"] == str(len(content))
        assert headers["last-modified"] == "Mon, 01 Jan 2024 00:00:00 GMT"
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert headers["etag"] == f'"{md5}"'
        head_status, head, nothing = fetch(index.file_url(DEMO), method="HEAD")
        assert (head_status, nothing) == (200, b"")
        assert head["content-length"] == headers["content-length"]
        assert [request.method for request in index.requests] == ["GET", "HEAD"]
        assert index.requests[0].body_bytes == index.file_bytes_served() == len(content)
        assert index.gets(DEMO) == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_conditions(tmp_path: Path, flavour: Flavour) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator(flavour) as index:
        index.publish(tmp_path / DEMO)
        for url in (index.file_url(DEMO), f"{index.index_url}demo-pkg/"):
            etag = fetch(url)[1]["etag"]
            status, headers, body = fetch(url, {"If-None-Match": f'"other", W/{etag}'})
            assert (status, body, headers["etag"]) == (304, b"", etag)
            assert "content-length" not in headers
            assert fetch(url, {"If-None-Match": '"other"'})[0] == 200
        since = {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}
        assert fetch(index.file_url(DEMO), since)[0] == 304
        since = {"If-Modified-Since": "Sun, 31 Dec 2023 00:00:00 GMT"}
        assert fetch(index.file_url(DEMO), since)[0] == 200
        assert fetch(index.file_url(DEMO), {"If-Modified-Since": "never"})[0] == 200


@pytest.mark.parametrize(
    ("value", "stretch"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-0", (10, 10)),
        ("bytes=10-", (10, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
    ],
)
def test_ranges_are_parsed(value: str, stretch: tuple[int, int] | None) -> None:
    assert parse_range(value, 10) == stretch


def test_ranges(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=1000).read_bytes()
    size = len(content)
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        url = index.file_url(DEMO)
        status, headers, body = fetch(url, {"Range": "bytes=10-19"})
        assert (status, body) == (206, content[10:20])
        assert headers["content-range"] == f"bytes 10-19/{size}"
        assert headers["content-length"] == "10"
        assert fetch(url, {"Range": "bytes=-5"})[2] == content[-5:]
        assert fetch(url, {"Range": f"bytes={size - 1}-"})[2] == content[-1:]
        status, headers, _ = fetch(url, {"Range": f"bytes={size}-"})
        assert (status, headers["content-range"]) == (416, f"bytes */{size}")
        etag = fetch(url, method="HEAD")[1]["etag"]
        assert fetch(url, {"Range": "bytes=1-2", "If-Range": etag})[0] == 206
        assert fetch(url, {"Range": "bytes=1-2", "If-Range": '"stale"'})[0] == 200
        assert fetch(url, {"Range": "bytes=1-2", "If-Range": f"W/{etag}"})[0] == 200
        modified = "Mon, 01 Jan 2024 00:00:00 GMT"
        assert fetch(url, {"Range": "bytes=1-2", "If-Range": modified})[0] == 206
        assert fetch(url, {"Range": "bytes=0-1,3-4"})[0] == 200
        index.reset_log()
        fetch(url, {"Range": "bytes=0-99"})
        assert index.file_bytes_served(DEMO) == 100
        assert index.file_bytes_served("other.whl") == 0
        assert index.requests[0].headers["range"] == "bytes=0-99"


def test_pypi_page(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "Demo.Pkg", "1.0", requires_python=">=3.8", requires=["x<2"])
    with IndexSimulator("pypi") as index:
        listed = index.publish(wheel, yanked="broken")
        index.publish(make_sdist(tmp_path, "demo-pkg", "1.0"))
        page = f"{index.index_url}demo-pkg/"
        status, headers, body = fetch(page, {"Accept": f"text/html;q=0.1, {JSON_TYPE}"})
        assert (status, headers["content-type"]) == (200, JSON_TYPE)
        assert headers["cache-control"] == "max-age=600, public"
        document = json.loads(body)
        assert document["name"] == "demo-pkg"
        assert document["versions"] == ["1.0"]
        file, sdist = document["files"]
        assert file["hashes"] == {"sha256": listed.sha256}
        assert file["size"] == listed.size
        assert file["requires-python"] == ">=3.8"
        assert file["upload-time"] == "2024-01-01T00:00:00.000000Z"
        assert file["yanked"] == "broken"
        assert sdist["core-metadata"] is False
        assert sdist["yanked"] is False
        status, headers, metadata = fetch(file["url"] + ".metadata")
        assert status == 200
        assert file["core-metadata"]["sha256"] == hashlib.sha256(metadata).hexdigest()
        assert b"Requires-Dist: x<2" in metadata
        status, headers, content = fetch(file["url"])
        assert content == wheel.read_bytes()
        assert headers["cache-control"] == "max-age=365000000, immutable, public"
        assert index.file_bytes_served() == len(content)
        _, headers, text = fetch(page)
        assert headers["content-type"].startswith("text/html")
        assert b'data-requires-python="&gt;=3.8"' in text
        assert fetch(page, {"Accept": HTML_TYPE})[1]["content-type"] == HTML_TYPE
        assert fetch(page, {"Accept": "image/png"})[0] == 406
        status, headers, _ = fetch(f"{index.index_url}Demo_Pkg")
        assert (status, headers["location"]) == (301, "/simple/demo-pkg/")
        listing = json.loads(fetch(index.index_url, {"Accept": JSON_TYPE})[2])
        assert listing["projects"] == [{"name": "demo-pkg"}]


def test_corruption(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000).read_bytes()
    with IndexSimulator() as index:
        listed = index.publish(tmp_path / DEMO)
        index.corrupt(DEMO, times=1)
        url, middle = index.file_url(DEMO), len(content) // 2
        assert fetch(url, {"Range": "bytes=0-9"})[2] == content[:10]
        served = fetch(url)[2]
        differing = [at for at, byte in enumerate(content) if served[at] != byte]
        assert (len(served), differing) == (len(content), [middle])
        assert listed.sha256.encode() in fetch(f"{index.index_url}demo-pkg/")[2]
        assert fetch(url)[2] == content
        index.corrupt(DEMO)
        part = fetch(url, {"Range": f"bytes={middle}-{middle}"})[2]
        assert part == bytes([content[middle] ^ 0xFF])
        index.heal()
        assert fetch(url)[2] == content


def test_truncation(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.truncate_after(DEMO, 70_000, times=2)
        for _ in range(2):
            with pytest.raises(http.client.IncompleteRead) as caught:
                fetch(index.file_url(DEMO))
            assert caught.value.partial == content[:70_000]
        assert fetch(index.file_url(DEMO))[2] == content
        assert index.file_bytes_served() == 140_000 + len(content)


def test_a_body_ends_at_a_byte_of_the_file(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.break_at(DEMO, 70_000)
        assert fetch(index.file_url(DEMO), {"Range": "bytes=0-69999"})[2] == content[:70_000]
        with pytest.raises(http.client.IncompleteRead) as caught:
            fetch(index.file_url(DEMO), {"Range": "bytes=50000-"})
        assert caught.value.partial == content[50_000:70_000]
        assert fetch(index.file_url(DEMO))[2] == content


def test_a_body_stalls_until_the_client_leaves(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.stall_at(DEMO, 70_000)
        connection = http.client.HTTPConnection(urlsplit(index.url).netloc, timeout=1)
        connection.request("GET", urlsplit(index.file_url(DEMO)).path)
        response = connection.getresponse()
        assert response.read(70_000) == content[:70_000]
        with pytest.raises(TimeoutError):
            response.read(1)
        response.close()
        connection.close()
        assert fetch(index.file_url(DEMO))[2] == content


def test_ranges_can_be_ignored(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0").read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.ignore_ranges(DEMO)
        status, headers, body = fetch(index.file_url(DEMO), {"Range": "bytes=10-19"})
        assert (status, body) == (200, content)
        assert "content-range" not in headers


def test_ranges_can_be_answered_wrongly(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0").read_bytes()
    size = len(content)
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        url, wanted = index.file_url(DEMO), {"Range": "bytes=10-19"}
        index.lie_about_ranges(DEMO, "start")
        assert fetch(url, wanted)[1]["content-range"] == f"bytes 11-19/{size}"
        index.lie_about_ranges(DEMO, "size")
        assert fetch(url, wanted)[1]["content-range"] == f"bytes 10-19/{size + 1}"
        index.lie_about_ranges(DEMO, "bytes")
        _, headers, body = fetch(url, wanted)
        assert (headers["content-range"], body) == (f"bytes 10-19/{size}", content[9:19])
        index.lie_about_ranges(DEMO, "length")
        with pytest.raises(http.client.IncompleteRead):
            fetch(url, wanted)


def test_tags_can_be_of_no_use(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator() as index:
        listed = index.publish(tmp_path / DEMO)
        url = index.file_url(DEMO)
        index.change_tags(DEMO, "changing")
        assert fetch(url)[1]["etag"] != fetch(url)[1]["etag"]
        index.change_tags(DEMO, "weak")
        assert fetch(url)[1]["etag"] == f"W/{listed.etag}"
        index.change_tags(DEMO, "none")
        assert not {"etag", "last-modified"} & set(fetch(url, {"If-None-Match": '"a"'})[1])


def test_a_file_can_come_compressed_or_without_a_length(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        url, wanted = index.file_url(DEMO), {"Range": "bytes=10-19"}
        index.omit_length(DEMO)
        status, headers, body = fetch(url, wanted)
        assert (status, body) == (200, content)
        assert "content-length" not in headers
        index.heal()
        index.encode(DEMO)
        status, headers, body = fetch(url, wanted)
        assert (status, headers["content-encoding"], gzip.decompress(body)) == (
            200,
            "gzip",
            content,
        )


def test_a_redirect_expires(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0").read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.redirect(DEMO, uses=2)
        status, headers, _ = fetch(index.file_url(DEMO))
        assert status == 302
        there = index.url + headers["location"]
        assert [fetch(there)[0] for _ in range(3)] == [200, 200, 403]
        again = index.url + fetch(index.file_url(DEMO))[1]["location"]
        assert again != there
        assert fetch(again)[2] == content


def test_more_bodies_than_are_allowed_are_refused(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000)
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.limit_bodies(1, retry_after="2")
        index.stall_at(DEMO, 70_000)
        held = http.client.HTTPConnection(urlsplit(index.url).netloc, timeout=10)
        held.request("GET", urlsplit(index.file_url(DEMO)).path)
        held.getresponse().read(70_000)
        status, headers, _ = fetch(index.file_url(DEMO))
        assert (status, headers["retry-after"]) == (429, "2")
        held.close()
        assert index.most_bodies_seen == 1


def test_throttle_and_delay(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0", size=200_000)
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.throttle(500_000)
        began = time.monotonic()
        fetch(index.file_url(DEMO))
        assert time.monotonic() - began >= 0.35
        index.throttle(None)
        index.delay(DEMO, 0.2)
        began = time.monotonic()
        fetch(index.file_url(DEMO), method="HEAD")
        assert 0.2 <= time.monotonic() - began < 5


def test_failures(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.fail(DEMO, 503, times=2)
        index.fail("/demo-pkg/", 500)
        statuses = [fetch(index.file_url(DEMO))[0] for _ in range(3)]
        assert statuses == [503, 503, 200]
        assert fetch(f"{index.index_url}demo-pkg/")[0] == 500
        assert [request.status for request in index.requests] == [503, 503, 200, 500]


def test_connections_are_kept(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        connection = http.client.HTTPConnection(urlsplit(index.url).netloc, timeout=10)
        connection.connect()
        used = connection.sock
        for path in ("/demo-pkg/", "/none/", "/demo-pkg", f"/demo-pkg/{DEMO}"):
            connection.request("GET", path)
            connection.getresponse().read()
            assert connection.sock is used
        connection.close()


def test_a_stopped_index_is_unreachable(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0", size=1_000_000)
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        index.throttle(100_000)
        failures: list[Exception] = []

        def download() -> None:
            try:
                fetch(index.file_url(DEMO))
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)

        client = threading.Thread(target=download)
        client.start()
        while not index.file_bytes_served():
            time.sleep(0.01)
        index.stop()
        client.join(5)
        assert len(failures) == 1
        with pytest.raises(ConnectionRefusedError):
            fetch(index.file_url(DEMO))
        assert index.gets(DEMO) == 1
        index.stop()


def test_many_clients_at_once(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0", size=300_000).read_bytes()
    with IndexSimulator() as index:
        index.publish(tmp_path / DEMO)
        bodies: list[bytes] = []
        clients = [
            threading.Thread(target=lambda: bodies.append(fetch(index.file_url(DEMO))[2]))
            for _ in range(40)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert bodies == [content] * 40
        assert index.gets(DEMO) == 40
        assert index.file_bytes_served() == 40 * len(content)


def test_tls(tmp_path: Path) -> None:
    content = make_wheel(tmp_path, "demo-pkg", "1.0").read_bytes()
    with IndexSimulator(tls=True) as index:
        index.publish(tmp_path / DEMO)
        trusting = ssl.create_default_context(cafile=str(index.ca_path))
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        for host in ("127.0.0.1", "localhost"):
            url = index.file_url(DEMO).replace("127.0.0.1", host)
            with urllib.request.urlopen(url, context=trusting, timeout=10) as response:
                assert response.read() == content
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(index.url, context=ssl.create_default_context(), timeout=10)
        assert index.gets(DEMO) == 2


def test_credentials(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator(credentials=("me", "p:w/")) as index:
        index.publish(tmp_path / DEMO)
        status, headers, _ = fetch(index.file_url(DEMO))
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="index"')
        assert fetch(index.file_url(DEMO), {"Authorization": "Basic bWU6cDp3Lw=="})[0] == 200
        assert "//me:p%3Aw%2F@127.0.0.1:" in index.authenticated_index_url


def test_a_file_can_be_replaced(tmp_path: Path) -> None:
    old = make_wheel(tmp_path, "demo-pkg", "1.0")
    with IndexSimulator() as index:
        first = index.publish(old)
        content = make_wheel(tmp_path, "demo-pkg", "1.0", size=10).read_bytes()
        second = index.publish(old)
        assert first.sha256 != second.sha256
        assert fetch(index.file_url(DEMO))[2] == content


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("tls", [False, True])
def test_uv_installs(tmp_path: Path, flavour: Flavour, tls: bool) -> None:  # noqa: FBT001
    with IndexSimulator(flavour, tls=tls, credentials=("me", "secret")) as index:
        index.publish(make_wheel(tmp_path / "w", "demo-pkg", "1.0", requires=["Other.Pkg>=2"]))
        index.publish(make_wheel(tmp_path / "w", "other-pkg", "2.5", size=500_000))
        python = make_venv(tmp_path)
        done = run_uv(
            tmp_path,
            *("pip", "install", "--python", python, "demo-pkg"),
            *("--index-url", index.authenticated_index_url),
            **({"SSL_CERT_FILE": str(index.ca_path)} if tls else {}),
        )
        assert done.returncode == 0, done.stderr
        code = "import demo_pkg, other_pkg; print(demo_pkg.__version__, other_pkg.__version__)"
        assert run_python(python, code) == "1.0 2.5"
        assert index.gets("other_pkg-2.5-py3-none-any.whl") >= 1
        has_sidecar = index.gets(f"{DEMO}.metadata") == 1
        assert has_sidecar is (flavour == "pypi")


def test_uv_rejects_a_corrupt_wheel(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0", size=500_000)
    with IndexSimulator() as index:
        listed = index.publish(tmp_path / DEMO)
        index.corrupt(DEMO)
        locked = tmp_path / "requirements.txt"
        locked.write_text(f"demo-pkg==1.0 --hash=sha256:{listed.sha256}\n", encoding="utf-8")
        install = ("pip", "install", "--python", make_venv(tmp_path), "--require-hashes")
        index_url = ("--index-url", index.index_url)
        done = run_uv(tmp_path, *install, "-r", locked, *index_url)
        assert done.returncode != 0
        assert "Failed to download `demo-pkg==1.0`" in done.stderr
        index.heal()
        done = run_uv(tmp_path, *install, "-r", locked, *index_url)
        assert done.returncode == 0, done.stderr


def test_uv_downloads_again_only_from_nvidia(tmp_path: Path) -> None:
    make_wheel(tmp_path, "demo-pkg", "1.0", size=500_000)
    served: dict[str, list[int]] = {}
    for flavour in FLAVOURS:
        home = tmp_path / flavour
        home.mkdir()
        served[flavour] = []
        with IndexSimulator(flavour) as index:
            size = index.publish(tmp_path / DEMO).size
            for _ in range(2):
                index.reset_log()
                target = ("pip", "install", "--python", sys.executable, "--target", home / "out")
                done = run_uv(home, *target, "--index-url", index.index_url, "demo-pkg")
                assert done.returncode == 0, done.stderr
                served[flavour].append(index.file_bytes_served())
                shutil.rmtree(home / "out")
    assert served["pypi"] == [size, 0]
    assert served["nvidia"][0] >= size
    assert served["nvidia"][1] >= size


def test_uv_builds_an_sdist_with_dynamic_requirements(tmp_path: Path) -> None:
    with IndexSimulator("pypi") as index:
        index.publish(make_tinybuild(tmp_path / "w"))
        index.publish(make_wheel(tmp_path / "w", "at-build", "3.0"))
        index.publish(make_wheel(tmp_path / "w", "at-run", "4.0"))
        index.publish(make_wheel(tmp_path / "w", "on-demand", "5.0"))
        index.publish(
            make_sdist(
                tmp_path / "w",
                "source-pkg",
                "1.0",
                dynamic_requires=["at-build>=3"],
                requires=["at-run"],
                extras={"more": ["on-demand"]},
            )
        )
        log, python = tmp_path / "builds.txt", make_venv(tmp_path)
        done = run_uv(
            tmp_path,
            *("pip", "install", "--python", python, "source-pkg[more]"),
            *("--index-url", index.index_url),
            TINYBUILD_LOG=str(log),
        )
        assert done.returncode == 0, done.stderr
        assert log.read_text(encoding="utf-8") == "build_wheel source-pkg 1.0\n"
        assert index.gets("at_build-3.0-py3-none-any.whl") >= 1
        code = "import source_pkg, at_run, on_demand; print(source_pkg.__version__)"
        assert run_python(python, code) == "1.0"
        absent = "import importlib.util as u; print(u.find_spec('at_build'))"
        assert run_python(python, absent) == "None"


@pytest.mark.parametrize("static", [False, True])
def test_uv_must_build_to_learn_dynamic_metadata(
    tmp_path: Path,
    static: bool,  # noqa: FBT001
) -> None:
    with IndexSimulator("pypi") as index:
        index.publish(make_tinybuild(tmp_path / "w"))
        index.publish(make_wheel(tmp_path / "w", "at-run", "4.0"))
        source = make_sdist(tmp_path / "w", "source-pkg", "1.0", requires=["at-run"], static=static)
        index.publish(source)
        wanted, log = tmp_path / "wanted.in", tmp_path / "builds.txt"
        wanted.write_text("source-pkg\n", encoding="utf-8")
        done = run_uv(
            tmp_path,
            *("pip", "compile", "--python", sys.executable, wanted),
            *("--index-url", index.index_url),
            TINYBUILD_LOG=str(log),
        )
        assert done.returncode == 0, done.stderr
        assert "at-run==4.0" in done.stdout
        assert log.exists() is not static


def test_uv_installs_an_editable_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src" / "mine").mkdir(parents=True)
    (project / "src" / "mine" / "__init__.py").write_text("here = 1\n", encoding="utf-8")
    lines = (
        '[project]\nname = "mine"\nversion = "0.1"\ndependencies = ["at-run"]',
        '[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"',
        '[tool.tinybuild]\ndynamic-requires = ["at-build"]',
    )
    (project / "pyproject.toml").write_text("\n".join(lines), encoding="utf-8")
    with IndexSimulator() as index:
        index.publish(make_tinybuild(tmp_path / "w"))
        index.publish(make_wheel(tmp_path / "w", "at-build", "3.0"))
        index.publish(make_wheel(tmp_path / "w", "at-run", "4.0"))
        log, python = tmp_path / "builds.txt", make_venv(tmp_path)
        done = run_uv(
            tmp_path,
            *("pip", "install", "--python", python, "--editable", project),
            *("--index-url", index.index_url),
            TINYBUILD_LOG=str(log),
        )
        assert done.returncode == 0, done.stderr
        assert log.read_text(encoding="utf-8") == "build_editable mine 0.1\n"
        found = run_python(python, "import mine, at_run; print(mine.__file__)")
        assert found == str(project / "src" / "mine" / "__init__.py")
        built = run_uv(
            project,
            *("build", "--python", sys.executable, "--out-dir", tmp_path / "dist"),
            *("--index-url", index.index_url),
        )
        assert built.returncode == 0, built.stderr
        names = sorted(path.suffix for path in (tmp_path / "dist").iterdir())
        assert {".gz", ".whl"} <= set(names)
