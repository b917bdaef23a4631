"""`gpuenv store policy`: what happens to a URL, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common_of_store

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.core.profile import Index
    from provisioner.workflow.store_policy import Header, PolicyResult

_KINDS = {"page": "index page", "metadata": "metadata", "file": "file"}


@click.command()
@click.argument("url")
@common_of_store("project", profile="Let the rules of this profile count first.")
def policy(session: Session, url: str) -> None:
    """Show how long what a URL gives may be used again, and why."""
    from provisioner.workflow.store_policy import store_policy

    result = store_policy(session.world, session.options, url)
    session.show(result.to_json(), render_policy(result))


def render_policy(result: PolicyResult) -> str:
    """`store policy`."""
    from provisioner.core.urls import without_secrets

    subject, policy = result.subject, result.policy
    kind = _KINDS[subject.kind] + (f" of `{subject.package}`" if subject.package else "")
    lines = [without_secrets(subject.url), f"  is:     {kind}"]
    index = "unknown"
    if result.index:
        origin = f", from {result.index.origin}" if result.index.origin else ""
        name = f"`{result.index.name}` " if result.index.name else ""
        by = f"; {result.named_by}" if result.named_by else ""
        index = f"{name}{without_secrets(result.index.url)}{origin}{by}"
    lines.append(f"  index:  {index}")
    lines.append(f"  header: {_header(result.header)}")
    lines.append(f"  rule:   {_rule(policy.rule, subject.kind) if policy.rule else 'none'}")
    lines.append(f"  why:    {policy.because}")
    lines.append(f"  so:     {_does(result)}")
    lines.append(f"  uv is told: {policy.cache_control}")
    if result.held.sha256:
        lines.append(f"  held:   sha256 {result.held.sha256}")
    elif subject.kind == "file":
        lines.append("  held:   no")
    if seen := result.held.first_seen:
        lines.append(f"  first seen: {_day(seen.seen)} with sha256 {seen.digest}")
    return "\n".join(lines)


def _header(header: Header) -> str:
    words = f" ({header.words})" if header.words else ""
    if header.known == "unknown" or header.when is None:
        return f"unknown{words}"
    said = f"`{header.value}`" if header.value else "no `Cache-Control`"
    how = "kept" if header.known == "kept" else "asked for just now,"
    return f"{said}, {how} {_day(header.when)}{words}"


def _rule(rule: Index, kind: str) -> str:
    key = "files" if kind == "file" else "api"
    term = rule.cache_control.files if kind == "file" else rule.cache_control.api
    packages = f" for {', '.join(f'`{item}`' for item in rule.packages)}" if rule.packages else ""
    return f"`{key}: {term}`{packages} of `{rule.name or rule.url}`, from {rule.origin}"


def _does(result: PolicyResult) -> str:
    policy, header = result.policy, result.header
    if policy.is_immutable:
        return "kept for good, and never asked for again"
    strong = bool(header.etag and header.etag.startswith('"'))
    if result.subject.kind == "file":
        asked = "asked for its ETag" if strong else "fetched anew, for want of a strong ETag,"
        return f"kept, and {asked} each time"
    by = "by its ETag" if header.etag else "by its date" if header.last_modified else None
    then = f"revalidated {by}" if by else "fetched anew"
    if header.known == "unknown":
        then = "revalidated"
    if not policy.lifetime:
        return f"kept, and {then} each time"
    left = policy.lifetime - (result.age or 0)
    fresh = f", which is in {int(left)} s" if result.age is not None and left > 0 else ""
    return f"used again for {policy.lifetime} s, then {then}{fresh}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
