"""Variables as shells read them."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.core.shell import assignments


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_shell_reads_back_what_was_written(value: str) -> None:
    script = f'{assignments({"X": value}, "sh")}; printf %s "$X"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == value


def test_each_form_has_its_own_words() -> None:
    variables = {"A": "it's \\", "B": "http://x/"}
    assert assignments(variables, "fish") == "set -gx A 'it\\'s \\\\'\nset -gx B 'http://x/'"
    assert assignments({"B": "http://x/"}, "dotenv") == "B=http://x/"
