"""The registry of findings: every code with its meaning."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import provisioner
from provisioner.core.findings import ABSENT, BROKEN, BROKEN_UNTOLD, FAULTS, KINDS, found

PROMISED = (
    *("no-gpu", "gpu-no-driver", "driver-no-device", "driver-no-library"),
    *("driver-no-compute-lib", "version-mismatch", "gpu-lost", "gpu-failed", "no-permission"),
    *("gpus-unreadable", "gpus-unknown", "nvml-failed", "driver-unreadable"),
    *("implausible-value", "probe-timeout", "probe-crashed", "no-mig-instance"),
    *("override-contradicts", "jetson", "compat-active", "compat-unusable"),
    *("gpu-unknown-to-driver", "newer-than-tables"),
)


def test_no_promised_code_is_missing() -> None:
    assert set(PROMISED) == set(KINDS)


@pytest.mark.parametrize("code", KINDS)
def test_a_code_says_what_it_means_in_the_form_of_messages(code: str) -> None:
    kind = KINDS[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    for text in (kind.means, kind.hint or "x"):
        assert not text.endswith(".")
        assert text.count("`") % 2 == 0


def test_absent_is_not_broken_and_no_fault() -> None:
    assert not ABSENT & (BROKEN | BROKEN_UNTOLD | FAULTS)


def test_what_breaks_a_host_is_a_fault_that_nobody_may_remember() -> None:
    assert BROKEN | BROKEN_UNTOLD <= FAULTS


def test_a_finding_has_the_hint_of_its_code_unless_it_has_a_better_one() -> None:
    assert found("no-gpu", "none").hint == KINDS["no-gpu"].hint
    assert found("no-gpu", "none", "look again").hint == "look again"
    with pytest.raises(KeyError):
        found("no-such-code", "x")


def test_every_code_of_the_registry_is_found_somewhere() -> None:
    used = set()
    for path in Path(provisioner.__file__).parent.rglob("*.py"):
        if path.name == "findings.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(KINDS) <= used
