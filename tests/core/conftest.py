"""Properties are judged by what holds, not by how long an example takes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("core", deadline=None, database=None, print_blob=True)
settings.load_profile("core")
