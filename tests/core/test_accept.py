"""In which form a client wants an index page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.accept import PLAIN_HTML, page_type
from provisioner.core.pages import ACCEPT, JSON_PAGE
from provisioner.core.simple_index import HTML_PAGE


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, PLAIN_HTML),
        ("", PLAIN_HTML),
        ("*/*", PLAIN_HTML),
        ("text/html", PLAIN_HTML),
        ("text/*;q=0.1", PLAIN_HTML),
        (JSON_PAGE, JSON_PAGE),
        (JSON_PAGE.upper(), JSON_PAGE),
        (HTML_PAGE, HTML_PAGE),
        ("application/vnd.pypi.simple.latest+json", JSON_PAGE),
        (ACCEPT, JSON_PAGE),
        (f"{JSON_PAGE};q=0.1, text/html;q=0.9", PLAIN_HTML),
        (f"text/html, */*;q=0.1, {JSON_PAGE};q=0.5", PLAIN_HTML),
        (f"{JSON_PAGE};q=0, */*;q=0.1", PLAIN_HTML),
        ("application/*", HTML_PAGE),
        ("application/json", None),
        ("text/html;q=0", None),
        ("text/html;q=much", None),
        ("text/html;q=nan", None),
    ],
)
def test_a_page_comes_in_the_form_that_is_wished_most(accept: str | None, kind: str | None) -> None:
    assert page_type(accept) == kind


@given(st.text())
def test_no_header_is_an_error(accept: str) -> None:
    assert page_type(accept) in {PLAIN_HTML, HTML_PAGE, JSON_PAGE, None}
