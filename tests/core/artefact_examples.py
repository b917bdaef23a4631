"""Example hosts and tables that tests of artefacts start from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provisioner.adapters.profiles import load_artefact_facts, shipped_folder
from provisioner.core.target_json import target_from_json

if TYPE_CHECKING:
    from provisioner.core.artefact_facts import ArtefactFacts
    from provisioner.core.host import Host


def example_host(name: str) -> Host:
    """A host that ships as an example."""
    path = shipped_folder() / "hosts" / f"{name}.json"
    return target_from_json(json.loads(path.read_text(encoding="utf-8")), name).host


def shipped_artefact_facts() -> ArtefactFacts:
    return load_artefact_facts()
