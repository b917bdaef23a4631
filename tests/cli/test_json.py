"""`--json`: one envelope for every command, errors included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.projects import TARGET

if TYPE_CHECKING:
    from tests.cli.conftest import Prepared

ENVELOPE = {"gpuenv", "command", "status", "data", "errors"}
ERROR = {"code", "message", "causes", "hint"}
FIELDS = {
    "detect": {"platform", "driver", "gpus", "findings", "sources"},
    "profiles": {"profiles"},
    "select": {"profile", "extras", "usable", "candidates", "warnings"},
    "lock": {"locks"},
    "prepare": {
        "profile",
        "prepared",
        "fetched",
        "reused",
        "environment",
        "active",
        "generation",
    },
    "switch": {"from", "to", "generation", "environment"},
    "rollback": {"from", "to", "generation", "environment"},
    "status": {"active", "generation", "environment", "prepared"},
    "check": {"profile", "environment", "python", "variables", "ran_on_gpu", "steps"},
    "configure": {"files", "notes"},
    "store list": {"store", "files"},
    "store info": {"blobs", "environments", "pages", "partial", "total", "projects"},
    "store verify": {"checked", "hashed", "damaged", "repaired"},
    "store gc": {"dry_run", "removed", "freed_bytes", "kept_bytes"},
    "store pin": {"pins"},
    "store export": {"bundle", "bytes", "blobs", "pages", "locks", "notes"},
    "store import": {"bundle", "imported", "held", "pages", "pin"},
}
GOOD = {
    "detect": ["--target", TARGET],
    "profiles": [],
    "select": [],
    "lock": [],
    "prepare": [],
    "switch": ["cu13"],
    "rollback": ["1"],
    "status": [],
    "check": [],
    "configure": [],
    "store list": [],
    "store info": [],
    "store verify": [],
    "store gc": ["--dry-run"],
    "store pin": [],
    "store export": ["bundle.tar", "--force"],
    "store import": ["bundle.tar"],
}
BAD_TARGET = ["--target", "gpus=x"]
BAD = {
    "detect": (BAD_TARGET, 2, "target-invalid"),
    "profiles": (BAD_TARGET, 2, "target-invalid"),
    "select": (["--profile", "cu99"], 2, "profile-unknown"),
    "lock": (["--profile", "cu99"], 2, "profile-unknown"),
    "prepare": (["--profile", "cu99"], 2, "profile-unknown"),
    "switch": (["cu99"], 1, "not-prepared"),
    "rollback": (["99"], 1, "generation-unknown"),
    "status": (["--project", "nowhere"], 2, "usage"),
    "check": (["--profile", "cu99"], 1, "not-prepared"),
    "configure": (["--serve-url", "nowhere"], 2, "usage"),
    "store gc": (["--max-age", "long"], 2, "usage"),
    "store pin": (["no-such-file"], 1, "unknown"),
    "store forget": (["no-such-file"], 1, "unknown"),
    "store export": (["bundle.tar", "no-such-file"], 1, "unknown"),
    "store import": (["pyproject.toml"], 1, "bundle-format"),
}


@pytest.mark.parametrize("command", GOOD)
def test_a_result_comes_in_the_envelope(first_prepare: Prepared, command: str) -> None:
    if command == "store import":
        assert first_prepare.gpuenv("store", "export", *GOOD["store export"]).code == 0
    done = first_prepare.gpuenv(*command.split(), *GOOD[command], "--json")
    assert done.code == 0, done.err
    assert set(done.envelope) == ENVELOPE
    assert (done.envelope["gpuenv"], done.envelope["command"]) == (1, command)
    assert (done.envelope["status"], done.envelope["errors"]) == ("ok", [])
    assert FIELDS[command] <= set(done.data)


@pytest.mark.parametrize("command", BAD)
def test_an_error_comes_in_the_envelope_and_on_stderr(
    first_prepare: Prepared, command: str
) -> None:
    words, code, name = BAD[command]
    done = first_prepare.gpuenv(*command.split(), *words, "--json")
    assert done.code == code
    assert set(done.envelope) == ENVELOPE
    assert (done.envelope["gpuenv"], done.envelope["command"]) == (1, command)
    assert (done.envelope["status"], done.envelope["data"]) == ("error", None)
    (error,) = done.envelope["errors"]
    assert set(error) == ERROR
    assert error["code"] == name
    said = done.message
    assert (error["message"], tuple(error["causes"]), error["hint"]) == (
        said.error,
        said.causes,
        said.hint,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--project", ".", "--frobnicate"],
        ["--target", TARGET, "--frobnicate"],
        ["--frobnicate"],
    ],
)
def test_a_usage_error_names_its_command_wherever_the_options_stand(
    first_prepare: Prepared, words: list[str]
) -> None:
    done = first_prepare.gpuenv("select", *words, "--json")
    assert (done.code, done.envelope["command"]) == (2, "select")


def test_json_that_a_command_is_given_is_not_ours(first_prepare: Prepared) -> None:
    done = first_prepare.gpuenv("run", "sh", "-c", "exit 3", "--json")
    assert (done.code, done.out) == (3, "")
    missing = first_prepare.gpuenv("run", "no-such-command", "--json")
    assert (missing.code, missing.out) == (2, "")


def test_what_is_known_comes_with_an_error(first_prepare: Prepared) -> None:
    target = "driver=570.124.06,cuda=12.8,gpus=3.7"
    done = first_prepare.gpuenv("select", "--target", target, "--json")
    assert done.code == 7
    assert done.envelope["status"] == "error"
    data: dict[str, Any] = done.envelope["data"]
    assert (data["profile"], data["usable"]) == (None, ["cpu"])
    reasons = {
        item["profile"]: [reason["code"] for reason in item["reasons"]]
        for item in data["candidates"]
    }
    assert reasons["cu13"] == ["driver-too-old", "no-code"] or "driver-too-old" in reasons["cu13"]
    assert reasons["cu12"] == ["gpu-unknown-to-driver", "no-code"]


def test_stdout_holds_the_envelope_and_nothing_else(first_prepare: Prepared) -> None:
    assert first_prepare.done.out.startswith("{\n")
    assert first_prepare.done.out.endswith("}\n")
    assert "fetched lean_cu13" in first_prepare.done.err


def test_the_fields_of_a_selection(first_prepare: Prepared) -> None:
    data = first_prepare.gpuenv("select", "--json", "--target", TARGET).data
    assert (data["profile"], data["extras"]) == ("cu13", ["cu13"])
    assert data["usable"] == ["cu13", "cu12", "cpu"]
    candidates = {item["profile"]: item for item in data["candidates"]}
    assert {name for name, item in candidates.items() if item["accepted"]} == set(data["usable"])
    assert [reason["code"] for reason in candidates["cu11"]["reasons"]] == ["extra-not-defined"]
    promised = {"profile", "accepted", "reasons"}
    assert all(promised < set(item) for item in candidates.values())
