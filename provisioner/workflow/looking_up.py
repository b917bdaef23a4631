"""Whether an index names a file that no kept page does: clients keep pages of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from provisioner.core.file_names import package_of
from provisioner.core.pages import listed_files
from provisioner.core.routes import project_page
from provisioner.core.urls import file_name, origin, plain, without_secrets
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.adapters._origin import BodyAnswer
    from provisioner.core.admission import Admission
    from provisioner.core.routes import Search

_OK: Final = 200


class LookUp:
    """Asks indexes for what they name, each that does not answer only once.

    The indexes at the file's own host come first: they learn nothing new. Then come those
    that a client asks for its package, and no others, since its name may be a secret.
    """

    def __init__(
        self, page: Callable[[str], tuple[str, BodyAnswer]], search: Callable[[], Search]
    ) -> None:
        """`page` gives a page as it is now, and the URL that it led to."""
        self._page = page
        self._search = search
        self._turn = threading.Lock()
        self._answers: dict[str, bool] = {}
        self._silent: dict[str, GpuenvError] = {}

    def names(self, key: str, admission: Admission) -> bool:
        """Whether an index that counts names the file at a URL (without secrets) now."""
        with self._turn:
            if key not in self._answers:
                package = package_of(file_name(key))
                self._answers[key] = bool(package) and self._is_named(key, str(package), admission)
            return self._answers[key]

    def _is_named(self, key: str, package: str, admission: Admission) -> bool:
        near = [place for place in sorted(admission.places) if origin(place) == origin(key)]
        hides = False
        for place in near:
            listed = self._lists(place, package, key)
            if listed:
                return True
            hides = hides or listed is not None or plain(place) in self._silent
        if hides:
            return False  # Its own host is to have the package, so no other is told its name.
        search = self._search()
        asked = set(map(plain, near))
        for place in search.routes.all_of(package):
            if plain(place) in asked:
                continue
            listed = self._lists(place, package, key)
            if listed:
                return True
            hides = listed is not None or plain(place) in self._silent
            if hides and search.only_first and search.routes.has_in_order(place):
                break  # As uv does.
        return False

    def _lists(self, place: str, package: str, key: str) -> bool | None:
        """Whether an index lists a file; None where it lacks the package, or does not answer."""
        if plain(place) in self._silent:
            return None
        try:
            url, page = self._page(project_page(place, package))
        except GpuenvError as error:
            self._silent[plain(place)] = error
            return None
        if page.status != _OK:
            return None
        return any(
            key == without_secrets(file.url) for file in listed_files(page.body, page.headers, url)
        )

    @property
    def silent(self) -> tuple[str, ...]:
        """What could not be asked, in words."""
        return tuple(error.line for error in list(self._silent.values()))

    def forget(self) -> None:
        """Begin anew."""
        with self._turn:
            self._answers.clear()
            self._silent.clear()
