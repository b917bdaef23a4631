"""The real `wheel-stub` of the public index behind the gateway: it gets its wheel from the store.

NVIDIA's own index is not asked: a stub of the real shape names one of the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, distributions
from tests.cli.projects import downloads
from tests.live.clients import TARGET, reaching
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_stub, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

WHEEL = "trt_cu12_libs-10.9.0.34-py2.py3-none-any.whl"
STUB = "trt_cu12_libs-10.9.0.34.tar.gz"
BACKENDS = ["wheel_stub", "nvidia_stub"]
VARIABLES = {"wheel_stub": "WHEEL_STUB_PIP_INDEX_URL", "nvidia_stub": "NVIDIA_PIP_INDEX_URL"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_real_backends_accept_what_the_store_gives(tmp_path: Path, backend: str) -> None:
    made = tmp_path / "made"
    with IndexSimulator("pypi") as public, IndexSimulator() as nvidia:
        name, version = "trt-cu12-libs", "10.9.0.34"
        nvidia.publish(make_wheel(made, name, version, tag="py2.py3-none-any", size=300_000))
        flat = backend == "nvidia_stub"
        stub = make_stub(made, name, version, nvidia.index_url, backend=backend, flat=flat)
        public.publish(stub)
        # `nvidia-stub` knows no other index but for its variable, without a slash at its end.
        given = {VARIABLES[backend]: nvidia.url} if flat else {}
        folder = tmp_path / "app"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            f"""\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"

[project.optional-dependencies]
cu12 = ["trt-cu12-libs"]

[[tool.uv.index]]
name = "simulator"
url = "{public.index_url}"
explicit = true

[tool.uv.sources]
trt-cu12-libs = {{ index = "simulator" }}
""",
            encoding="utf-8",
        )
        done = Machine(tmp_path / "locker", **reaching()).uv(folder, "lock", given=given)
        assert done.code == 0, done.err
        public.reset_log()
        nvidia.reset_log()
        machine = Machine(tmp_path / "machine", **reaching())

        done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET, given=given)

        assert done.code == 0, done.err
        assert [item["wheel"] for item in done.data["substitutions"]] == [WHEEL]
        assert downloads(public) == {STUB: 1}
        assert downloads(nvidia) == {WHEEL: 1}
    assert "trt-cu12-libs 10.9.0.34" in distributions(folder / ".venv")
    words = ("sync", "--extra", "cu12", "--offline", "--reinstall")
    done = machine.uv(folder, *words, network=False, given=given)
    assert done.code == 0, done.err
    assert "trt-cu12-libs 10.9.0.34" in distributions(folder / ".venv")
