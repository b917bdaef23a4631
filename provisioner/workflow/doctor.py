"""What is wrong on this machine for the main job, and how to mend it, on one page."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.adapters import uv_settings
from provisioner.adapters.environment import is_ours
from provisioner.adapters.state import StateFolder
from provisioner.adapters.store import lower_roots
from provisioner.adapters.uv import Uv, find_uv
from provisioner.core.file_names import package_of
from provisioner.core.findings import KINDS
from provisioner.core.plan import FetchPlan, plan_fetch, read_lock
from provisioner.core.project import normalise
from provisioner.core.requirements import lock_name
from provisioner.core.select import out_of_question, refuse_gaps
from provisioner.core.sizes import size_text
from provisioner.core.stubs import may_be_stub
from provisioner.core.tags import markers
from provisioner.core.urls import is_remote, origin, without_secrets
from provisioner.errors import (
    STORE_FULL,
    GpuenvError,
    LockError,
    NetworkError,
    PolicyError,
    SelectionError,
    SpaceError,
)
from provisioner.workflow.choose import judge_profiles
from provisioner.workflow.default_index import default_index
from provisioner.workflow.detect import counts, detect
from provisioner.workflow.filling import Filled
from provisioner.workflow.links import choose_link_mode
from provisioner.workflow.lock_indexes import check_indexes
from provisioner.workflow.locks import Locked, lock_text, locked_by_uv
from provisioner.workflow.marks import caches_are_sound, folders_are_there, has_lost, signature_of
from provisioner.workflow.place import place_of, store_of
from provisioner.workflow.profiles import SelectResult, select_result
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pythons import find_interpreter
from provisioner.workflow.room import bytes_to_fetch
from provisioner.workflow.stubs import StubReader
from provisioner.workflow.workshop import connect, open_pull

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.adapters.http import Http
    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.core.history import History
    from provisioner.core.host import Finding, Target
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.judge import Reason
    from provisioner.core.plan import LockedFile
    from provisioner.workflow.choose import Judged
    from provisioner.workflow.world import Options, World

State = Literal["ok", "warning", "failed"]

_CONNECT_SECONDS: Final = 5.0
_ASKED_AT_ONCE: Final = 8
_SERVER_ERRORS: Final = 500
_REFUSED: Final = frozenset({401, 403})
_GONE: Final = frozenset({404, 410})
_LOW_BYTES: Final = 1 << 30
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at. `exit_code` is what `prepare` would end with."""

    name: str
    state: State
    message: str
    code: str | None = None
    causes: tuple[str, ...] = ()
    hint: str | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields of one of `doctor --json`'s `checks`."""
        return {
            "name": self.name,
            "state": self.state,
            "code": self.code,
            "message": self.message,
            "causes": list(self.causes),
            "hint": self.hint,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorResult:
    """Every check, in the order of the main job; the target, and what would be chosen for it."""

    checks: tuple[Check, ...]
    target: Target
    selected: SelectResult | None
    remembered: dict[str, Any] | None = None

    def failure(self) -> GpuenvError | None:
        """Why the main job would not work, if so, with the exit code that it would have."""
        failed = [check for check in self.checks if check.state == "failed"]
        if not failed:
            return None
        error = GpuenvError(
            "`gpuenv prepare` would not work here",
            causes=tuple(
                line
                for check in failed
                for line in (f"{check.name}: {check.message}", *check.causes)
            ),
            hint=next((check.hint for check in failed if check.hint), None),
            code=failed[0].code or "failed",
            data=self.to_json(),
        )
        error.exit_code = failed[0].exit_code
        return error

    def to_json(self) -> dict[str, Any]:
        """The fields of `doctor --json`."""
        from provisioner.core.target_json import target_to_json

        return {
            "checks": [check.to_json() for check in self.checks],
            "host": target_to_json(self.target),
            "selection": self.selected.to_json() if self.selected else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """What is examined."""

    world: World
    options: Options
    place: Place
    target: Target
    store: Store


def doctor(world: World, options: Options) -> DoctorResult:
    """Go through the main job without doing it; the machine is asked anew.

    Raises:
        UsageError: the project, target or policy that is named does not exist.
    """
    place = place_of(world, options)
    states = StateFolder(place.home)
    state = states.read()
    target = detect(world, options, remembered=state.target, fresh=True)
    store = store_of(replace(world, progress=Quiet()), options)
    case = _Case(world=world, options=options, place=place, target=target, store=store)
    checks = _link(states, state.history)
    remembered = state.target if counts(world, options, state.target) else None
    judged, selected = None, None
    told: set[str] = set()
    try:
        judged = judge_profiles(world, place, target, options)
        selection = judged.select(options)
        selected = select_result(judged, selection, options, remembered)
        if not options.force:
            refuse_gaps(selection)
    except GpuenvError as error:
        checks.append(_failed("selection", error))
    else:
        checks.append(Check(name="selection", state="ok", message=_chosen(selected)))
    if selected:
        told = {finding.message for finding in target.host.findings}
        told |= {cause for check in checks for cause in check.causes}
    interpreter, tools = _tools(case, judged)
    plan, locks = _plan(case, judged, selected, interpreter)
    if selected:
        codes = {check.code for check in locks if check.state == "failed"}
        checks += [
            _warned(item)
            for item in selected.selection.warnings
            if item.message not in told and item.code not in codes
        ]
    checks += [*tools, *_caches(case, map(Filled.from_json, state.filled), state.last), *locks]
    checks += [*_store(store, plan), *_links(case)]
    checks += [
        Check(name="store", state="warning", message=fault, code="lower-store-unusable")
        for fault in lower_roots(world.variables, store.root)[1]
    ]
    checks += _indexes(case, selected, judged, plan)
    checks = [*_host(target, selected), *checks]
    return DoctorResult(
        checks=tuple(checks), target=target, selected=selected, remembered=remembered
    )


def _host(target: Target, selected: SelectResult | None) -> list[Check]:
    """What was found of the machine; what breaks the choice is a warning where one was made."""
    host = target.host
    broken = set() if selected else {finding.code for finding in host.broken}

    def of(finding: Finding) -> Check:
        fails = finding.code in broken
        return Check(
            name="host",
            state="failed" if fails else "warning",
            message=finding.message,
            code=finding.code,
            hint=finding.hint or _usual_hint(finding.code),
            exit_code=SelectionError.exit_code if fails else 0,
        )

    if host.findings:
        return [of(finding) for finding in host.findings]
    count = len(host.gpus)
    message = f"a driver and {count} {'GPU' if count == 1 else 'GPUs'}, nothing is wrong with them"
    return [Check(name="host", state="ok", message=message)]


def _usual_hint(code: str) -> str | None:
    kind = KINDS.get(code)
    return kind.hint if kind else None


def _link(states: StateFolder, history: History) -> list[Check]:
    try:
        states.check_link(is_ours, history)
    except PolicyError as error:
        return [_failed("project", error)]
    return []


def _chosen(selected: SelectResult) -> str:
    return f"`{selected.selection.chosen.profile.name}`: {selected.why}"


def _warned(reason: Reason) -> Check:
    return Check(
        name="selection",
        state="warning",
        message=reason.message,
        code=reason.code,
        hint=reason.hint,
    )


def _failed(name: str, error: GpuenvError) -> Check:
    return Check(
        name=name,
        state="failed",
        message=error.message,
        code=error.code,
        causes=error.causes,
        hint=error.hint,
        exit_code=error.exit_code,
    )


def _tools(case: _Case, judged: Judged | None) -> tuple[Interpreter | None, list[Check]]:
    """uv, and the Python that it finds."""
    try:
        program = find_uv(case.world.variables)
        version = Uv(program, case.place.folder, case.world.variables).usable_version()
    except GpuenvError as error:
        return None, [_failed("uv", error)]
    checks = [Check(name="uv", state="ok", message=f"`{program}`, version `{version}`")]
    try:
        known = judged.python if judged else None
        interpreter, not_here = known or find_interpreter(
            case.world, case.place, case.target, program
        )
    except GpuenvError as error:
        return None, [*checks, _failed("python", error)]
    where = interpreter.path or "not on this machine"
    message = f"`{where}`, version `{interpreter.version}`"
    checks.append(Check(name="python", state="ok", message=message))
    if not_here:
        checks.append(Check(name="python", state="warning", message=not_here, code="not-here"))
    return interpreter, checks


def _caches(case: _Case, filled: Iterable[Filled], last: dict[str, Any] | None) -> list[Check]:
    """Which uvs can toggle without a network: those whose caches `prepare` has filled."""
    if not last:
        return []
    known = {one.program: one for one in filled}
    marks = last.get("caches")
    checks = [_cache(case, one, marks) for one in known.values()]
    is_whole = marks is not None and folders_are_there(marks)
    if known and is_whole and not caches_are_sound(last):
        # As after a plain `uv sync`, which takes files out of the active environment.
        message = (
            "uv's cache, or an environment that shares files with it, was changed; the next "
            "`prepare` looks whether something lacks"
        )
        checks.append(Check(name="cache", state="ok", message=message))
    with suppress(GpuenvError):
        program = find_uv(case.world.variables)
        if str(program) not in known:
            checks.append(_unfilled(f"the cache of `{program}`, the first on PATH, is not filled"))
    return checks


def _cache(case: _Case, one: Filled, marks: dict[str, Any] | None) -> Check:
    named = f"uv `{one.version}` (`{one.program}`)"
    now = signature_of(one.program)
    if not now:
        return _unfilled(f"{named}, whose cache was filled, is gone", code="uv-gone", hint=None)
    if now != one.signature:
        return _unfilled(f"{named} is another one now, whose cache is not filled")
    # Behind a shim, as of mise, asdf and pyenv, another one may lie at the same path.
    again = f"`gpuenv prepare --uv {shlex.quote(one.program)}` fills it from the store"
    try:
        version = Uv(Path(one.program), case.place.folder, case.world.variables).version()
    except GpuenvError as error:
        return _unfilled(f"the cache of {named} cannot be used: {error.line}", hint=None)
    if version != one.version:
        message = f"{named}, whose cache was filled, is version `{version}` now"
        return _unfilled(message, hint=again)
    cache = f"the cache of {named}"
    has_less = marks is None or has_lost(marks, one.cache)
    if has_less or not one.ok:
        lacks = "has lost some of what it was filled with" if one.ok else "lacks something"
        return _unfilled(f"{cache} {lacks}", hint=again)
    profiles = ", ".join(f"`{name}`" for name in one.profiles)
    return Check(name="cache", state="ok", message=f"{cache} is filled for {profiles}")


def _unfilled(
    message: str,
    *,
    code: str = "uv-not-filled",
    hint: str | None = "`gpuenv prepare` fills it from the store",
) -> Check:
    return Check(name="cache", state="warning", message=message, code=code, hint=hint)


def _plan(
    case: _Case,
    judged: Judged | None,
    selected: SelectResult | None,
    interpreter: Interpreter | None,
) -> tuple[FetchPlan | None, list[Check]]:
    """What is still to be fetched for the chosen profile, as far as there is a lock."""
    if not (selected and interpreter):
        return None, []
    candidate = selected.selection.chosen
    profile = candidate.profile.name
    by_uv = locked_by_uv(case.place)
    path = case.place.uv_lock if by_uv else case.place.folder / lock_name(profile)
    name = path.name
    try:
        text = judged.locks.get(profile) if judged else None
        text = text or lock_text(case.world, case.place, candidate, interpreter)
        if text is None:
            message = f"there is no `{name}` yet; it will be made"
            return None, [Check(name="lock", state="ok", message=message)]
        platform = case.target.host.platform
        contents = read_lock(text, interpreter, platform, name)
        locked = Locked(candidate=candidate, text=text, path=path, by_uv=by_uv, contents=contents)
        environment = markers(interpreter, platform)
        check_indexes(case.world, case.place, case.store, locked, environment)
    except GpuenvError as error:
        return None, [_failed("lock", error)]
    plan = plan_fetch(contents.files, case.store)
    files = len(plan.missing) + len(plan.held)
    named = f"{files} {'file' if files == 1 else 'files'}"
    message = f"`{name}` names {named} for `{profile}`, {len(plan.held)} of them in the store"
    return plan, [Check(name="lock", state="ok", message=message)]


def _store(store: Store, plan: FetchPlan | None) -> list[Check]:
    try:
        store.check()
    except GpuenvError as error:
        return [_failed("store", error)]
    free = store.free_bytes()
    needed = bytes_to_fetch(store, plan) if plan else 0
    message = f"`{store.root}`, {size_text(free)} free"
    if plan and plan.missing:
        known = all(file.size is not None for file in plan.missing)
        message += f", {size_text(needed) if known else 'an unknown number of bytes'} to fetch"
    if needed > free:
        hint = STORE_FULL
        return [_failed("store", SpaceError(message, hint=hint, code="no-space"))]
    low = free < _LOW_BYTES
    return [
        Check(
            name="store",
            state="warning" if low else "ok",
            message=message,
            code="low-space" if low else None,
        )
    ]


def _links(case: _Case) -> list[Check]:
    """Whether environments share their files with uv's cache."""
    world, folder, environments = case.world, case.place.folder, case.store.root / "envs"
    if not (environments.is_dir() and case.store.is_writable):
        return []
    try:
        uv = Uv(find_uv(world.variables), folder, world.variables)
        mode = choose_link_mode(world, folder, environments, uv.cache_folder)
    except GpuenvError:
        return []  # What is wrong with uv is told already.
    message = f"uv brings files from its cache into environments by `{mode}`"
    if mode == "copy":
        message += ": each environment takes its own room"
    return [Check(name="links", state="ok", message=message)]


def _indexes(
    case: _Case, selected: SelectResult | None, judged: Judged | None, plan: FetchPlan | None
) -> list[Check]:
    """Whether what `prepare` would ask answers; it matters only where something is missing."""
    stubs = _of_stubs(case, selected, plan)
    if plan is not None and not plan.missing and not stubs:
        return [Check(name="indexes", state="ok", message="nothing is to be fetched")]
    urls = dict.fromkeys(_asked(case, selected, judged, plan), plan is not None)
    urls = {**dict.fromkeys(stubs, False), **urls}
    if case.options.offline:
        missing = [f"`{file.name}` is not held" for file in plan.missing] if plan else []
        missing += [f"the wheel of a stub, from `{without_secrets(url)}`" for url in stubs]
        refused = NetworkError if plan else LockError
        error = refused(
            "`--offline` forbids to ask, and something is missing",
            causes=tuple(missing) or ("there is no lock yet",),
            hint="run `gpuenv prepare` once with a network",
            code="offline",
        )
        return [_failed("indexes", error)]
    http = connect(
        case.world,
        case.place.folder,
        connections=_ASKED_AT_ONCE,
        tries=1,
        connect_seconds=_CONNECT_SECONDS,
    )
    try:
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            return list(pool.map(lambda url: _reach(http, url, is_file=urls[url]), urls))
    finally:
        http.close()


def _of_stubs(
    case: _Case, selected: SelectResult | None, plan: FetchPlan | None
) -> tuple[str, ...]:
    """The indexes that have what stubs stand for.

    Those that held stubs name, whose wheels are missing, and those that the profile binds
    packages to: of a lock those that may be stubs, else what the project itself asks for.
    """
    if selected is None:
        return ()
    chosen, place = selected.selection.chosen, case.place
    names: set[str | None]
    if plan is None:
        asked = place.manifest and place.manifest.requirements(
            chosen.extras, chosen.groups, chosen.without
        )
        names = {normalise(found[0]) for text in asked or () if (found := _NAME.match(text))}
    else:
        names = {package_of(f.name) for f in plan.missing if may_be_stub(f.name, f.size)}
    claims = [one.url for one in chosen.profile.indexes if any(map(one.claims, names))]
    lacking = []
    if plan is not None and case.store.is_there:
        with open_pull(case.world, case.store, place.folder, offline=True) as pull:
            reader = StubReader(case.world, pull, keeps=False)
            lacking = [stub.index for stub in map(reader.lacking, plan.held) if stub]
    return tuple({url.rstrip("/"): url for url in (*claims, *lacking)}.values())


def _asked(
    case: _Case, selected: SelectResult | None, judged: Judged | None, plan: FetchPlan | None
) -> list[str]:
    """The servers of the missing files; without a lock the indexes that would resolve it."""
    if plan is not None:
        places: dict[str, LockedFile] = {}
        for file in plan.missing:
            places.setdefault(origin(file.url), file)
        return [file.url for file in places.values()]
    where = (case.world.variables, case.world.home, case.place.folder)
    profiles = [selected.selection.chosen.profile] if selected else []
    if not profiles and judged:
        candidates = (item for item in judged.candidates if not out_of_question(item))
        profiles = [item.profile for item in candidates if item.profile.cuda is not None]
    # Where uv keeps the lock, its own indexes resolve.
    bound = () if locked_by_uv(case.place) else profiles
    urls = [index.url for profile in bound for index in profile.indexes]
    own = list(uv_settings.index_urls(*where))
    default = default_index(case.world, case.place)
    asked = [*urls, *own, *([default] if default else [])]
    return [url for url in dict.fromkeys(asked) if is_remote(url)]


def _reach(http: Http, url: str, *, is_file: bool) -> Check:
    """Whether an index, or the server of a file, gives what it is asked for."""
    shown = without_secrets(url)
    try:
        with http.get(url, method="HEAD") as answer:
            status = answer.status
    except PolicyError as error:
        return _failed("indexes", error)
    except NetworkError as error:
        return replace(_failed("indexes", error), message=f"`{shown}` does not answer")
    if status in _REFUSED:
        code = "unauthorised"
        hint = "put the credentials into `~/.netrc`, the URL, or `UV_INDEX_<NAME>_PASSWORD`"
    elif is_file and status in _GONE:
        code = "unreachable"
        hint = "the index has this file no more; `gpuenv lock --upgrade` locks one that it has"
    elif status >= _SERVER_ERRORS:
        code, hint = "unreachable", "try again later"
    else:
        return Check(name="indexes", state="ok", message=f"`{shown}` answers")
    return _failed("indexes", NetworkError(f"`{shown}` answers {status}", code=code, hint=hint))
