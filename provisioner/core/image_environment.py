"""A virtual environment as it lies in an image (PEP 405), and where the files of wheels go."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from provisioner.core.image_tree import Entry, link, text

INSTALLER: Final = "gpuenv"

_UP: Final = ".."


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEnvironment:
    """An environment at an absolute `path` in an image.

    `python` is the interpreter that it is for, by its path in the image, and `version` its
    major and minor version.
    """

    path: str
    python: str
    version: tuple[int, int]
    free_threaded: bool = False

    @property
    def short(self) -> str:
        """The version as folders have it, such as `3.13t`."""
        return ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")

    @property
    def site(self) -> str:
        """Where packages lie, below the environment."""
        return f"lib/python{self.short}/site-packages"

    @property
    def program(self) -> str:
        """The environment's own Python, which scripts name in their first line."""
        return f"{self.path}/bin/python"

    def folder_of(self, scheme: str, distribution: str) -> str:
        """Where files of a scheme of the wheel format go, below the environment.

        Raises:
            ValueError: there is no such scheme.
        """
        places = {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": "bin",
            "data": "",
            "headers": f"include/site/python{self.short}/{distribution}",
        }
        if scheme not in places:
            message = f"`{scheme}` is no scheme of the wheel format"
            raise ValueError(message)
        return places[scheme]

    def place(self, folder: str, path: str) -> str:
        """The path in the image of a wheel's file, without the leading slash.

        Raises:
            ValueError: it leads out of its folder, as no installer lets it.
        """
        inside = posixpath.normpath(posixpath.join(folder, path))
        if path.startswith("/") or _UP in path.split("/") or inside == ".":
            message = f"`{path}` leads out of the folder that it belongs into"
            raise ValueError(message)
        return f"{self.path}/{inside}".strip("/")

    def own_files(self) -> tuple[Entry, ...]:
        """What an environment has before anything is installed in it."""
        home = posixpath.dirname(self.python)
        settings = (
            f"home = {home}\n"
            "include-system-site-packages = false\n"
            f"version_info = {'.'.join(map(str, self.version))}\n"
        )
        names = ("python3", f"python{self.short}")
        return (
            text(f"{self.path}/pyvenv.cfg", settings),
            link(f"{self.path}/bin/python", self.python),
            *(link(f"{self.path}/bin/{name}", "python") for name in names),
            link(f"{self.path}/lib64", "lib"),
        )

    def facts(self) -> dict[str, str]:
        """What of it the files of a wheel depend on."""
        return {"path": self.path, "python": self.short}
