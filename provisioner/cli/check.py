"""`gpuenv check`: the GPU libraries of an environment, loaded and tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.cli.commands import common_of_store, gpuenv

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.core.check import CheckResult


@gpuenv.command()
@common_of_store("project", profile="Check this profile's environment [default: the active one].")
def check(session: Session) -> None:
    """Load the GPU libraries of an environment, and use them.

    Each is tried in a process of its own, for at most 120 seconds [variable:
    GPUENV_CHECK_TIMEOUT].
    """
    from provisioner.workflow.check import check as verb

    result = verb(session.world, session.options)
    failure = result.failure()
    if not (failure and session.as_json):
        session.show(result.to_json(), render_check(result))
    if failure:
        raise failure


def render_check(result: CheckResult) -> str:
    """Every step with what explains it, then what that means."""
    python = f" (Python {result.python})" if result.python else ""
    lines = [f"{result.profile}: {result.environment}{python}"]
    lines += [f"{name} is `{value}`" for name, value in result.variables.items()]
    width = max((len(step.title) for step in result.steps), default=0)
    indent = f"{'':<7}  {'':<{width}}  "
    for step in result.steps:
        lines.append(f"{step.state:<7}  {step.title:<{width}}  {step.message}")
        label = "note" if step.state == "ok" else "cause"
        lines += [f"{indent}{label}: {cause}" for cause in step.causes]
        lines += [f"{indent}hint: {step.hint}"] if step.hint else []
    return "\n".join([*lines, result.summary])
