"""What is told of a client that was tried, or not."""

from __future__ import annotations

from dataclasses import replace

from provisioner.core.proofs import Proof

DONE = Proof(
    client="uv", version="0.13.9", program="/bin/uv", toggles=("cu13", "cpu", "cu13"), ok=True
)


def test_a_proof_is_one_line() -> None:
    line = "proof: uv 0.13.9 toggled cu13, cpu, cu13 with the network cut off: 0 bytes"
    assert DONE.text() == line


def test_a_client_that_went_without_what_it_asked_for_says_so() -> None:
    line = replace(DONE, wanted=("https://i.test/a/", "https://i.test/a/")).text()
    assert line == f"{DONE.text()}; it asked for `https://i.test/a/`, and went without"


def test_a_client_that_fails_names_what_it_asked_for_each_once() -> None:
    wanted = tuple(f"https://i.test/{number % 7}" for number in range(20))
    failed = Proof(client="uv", ok=False, wanted=wanted, why="uv could not")
    assert failed.causes()[:2] == (
        "it asked for `https://i.test/0`",
        "it asked for `https://i.test/1`",
    )
    assert failed.causes()[-1] == "and 2 more"
    assert failed.text().startswith("warning: uv cannot toggle with the network cut off: it asked")


def test_a_client_that_asks_for_nothing_fails_with_its_own_words() -> None:
    assert Proof(client="pip", ok=False, why="no room").causes() == ("no room",)


def test_a_client_that_was_not_tried_says_why() -> None:
    assert (
        Proof(client="poetry", why="it has no lock").text() == "not tried: poetry: it has no lock"
    )


def test_what_is_written_is_read_again() -> None:
    failed = Proof(client="uv", ok=False, wanted=("https://i.test/",), why="no")
    for proof in (DONE, failed):
        assert Proof.from_json(proof.to_json()) == proof
    assert (failed.to_json()["requests"], failed.to_json()["bytes"]) == (1, 0)
