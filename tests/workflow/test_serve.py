"""`gpuenv serve` before it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.errors import UsageError
from provisioner.workflow.serve import Serving, Wanted, serve
from provisioner.workflow.world import Options
from tests.workflow.stores import FilledStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("url", ["foo", "file:///srv/simple/", "http://host.test:99999/"])
def test_an_index_that_cannot_be_asked_is_refused_before_anything_is_served(
    tmp_path: Path, url: str
) -> None:
    started: list[Serving] = []
    wanted = Wanted(port=0, indexes=("https://pypi.org/simple/", url))
    with pytest.raises(UsageError, match=f"`{url}` is not an http or https URL"):
        serve(FilledStore(tmp_path).world, Options(), wanted, started.append)
    assert started == []
