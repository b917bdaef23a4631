"""What is prepared in a project, and the generations of what was active."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.history import (
    Generation,
    History,
    Prepared,
    from_json,
    of_folder,
    to_json,
    with_prepared,
)
from provisioner.errors import NotPreparedError

RECIPE: Final[dict[str, Any]] = {
    "folder": "app",
    "lock": "uv.lock",
    "lock_hash": "",
    "lock_stamp": [],
    "python": "python",
}


def prepared(profile: str, stamp: int = 1) -> Prepared:
    return Prepared(
        profile=profile,
        environment=f"envs/{profile}",
        stamp=(stamp, 0),
        inputs="0" * 64,
        recipe={**RECIPE, "extras": [profile]},
    )


ENTRY = to_json(History(), [prepared("cu12")])["environments"]["envs/cu12"]


def activate(history: History, *profiles: str, automatic: bool = False) -> History:
    for time, profile in enumerate(profiles, start=100):
        history = history.activate(prepared(profile), automatic=automatic, now=time)
    return history


def numbers(history: History) -> list[int]:
    return [item.number for item in history.generations]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("activate"), st.sampled_from(["cu13", "cu12", "cpu"]), st.booleans()),
        st.tuples(st.just("back"), st.integers(0, 20), st.booleans()),
    ),
    max_size=30,
)
Step = tuple[str, str | int, bool]


def walk(steps: list[Step]) -> list[History]:
    """The histories that a list of activations and rollbacks passes through."""
    history = History()
    passed = [history]
    for _, which, automatic in steps:
        if isinstance(which, str):
            history = history.activate(prepared(which), automatic=automatic, now=len(passed))
        elif history.generations:
            known = history.generations
            generation = history.find(known[which % len(known)].number)
            history = history.go_back(generation, generation.prepared)
        passed.append(history)
    return passed


@given(STEPS)
def test_a_number_is_never_used_for_something_else(steps: list[Step]) -> None:
    meant: dict[int, tuple[str, int]] = {}
    for history in walk(steps):
        assert numbers(history) == list(range(1, len(history.generations) + 1))
        for item in history.generations:
            told = (item.prepared.environment, item.time)
            assert meant.setdefault(item.number, told) == told


@given(STEPS)
def test_what_is_active_is_always_a_generation(steps: list[Step]) -> None:
    for history in walk(steps):
        assert (history.current is None) == (not history.generations)


@given(STEPS, st.booleans())
def test_activating_what_is_active_makes_no_generation(
    steps: list[Step],
    automatic: bool,  # noqa: FBT001 - drawn by position
) -> None:
    history = walk([*steps, ("activate", "cu12", False)])[-1]
    again = history.activate(prepared("cu12"), automatic=automatic, now=1_000)
    assert numbers(again) == numbers(history)
    assert again.active == history.active


@given(STEPS, st.integers(0, 20))
def test_going_back_keeps_every_number(steps: list[Step], which: int) -> None:
    history = walk([("activate", "cu13", False), *steps])[-1]
    generation = history.generations[which % len(history.generations)]
    back = history.go_back(generation, generation.prepared)
    numbers = [item.number for item in history.generations]
    assert [item.number for item in back.generations] == numbers
    assert back.active == generation.number


@given(STEPS, st.integers(0, 20))
def test_going_back_is_a_choice_by_hand(steps: list[Step], which: int) -> None:
    history = walk([("activate", "cu13", True), *steps])[-1]
    generation = history.generations[which % len(history.generations)]
    current = history.go_back(generation, generation.prepared).current
    assert current is not None
    assert not current.automatic


@given(STEPS, st.frozensets(st.sampled_from(["cu13", "cu12", "cpu"])))
def test_a_history_survives_being_written(steps: list[Step], names: frozenset[str]) -> None:
    history = walk(steps)[-1]
    ready = tuple(prepared(name) for name in sorted(names))
    assert from_json(json.loads(json.dumps(to_json(history, ready)))) == (history, ready)


@given(STEPS)
def test_an_environment_is_written_once_however_often_it_was_active(steps: list[Step]) -> None:
    history = walk(steps)[-1]
    written = to_json(history, [prepared("cu12")])
    used = {item.prepared.environment for item in history.generations} | {"envs/cu12"}
    assert set(written["environments"]) == used


def test_an_environment_made_anew_is_written_as_it_is_now() -> None:
    history = activate(History(), "cu12", "cpu")
    _, ready = from_json(to_json(history, [prepared("cu12", stamp=7)]))
    assert ready == (prepared("cu12", stamp=7),)


@pytest.mark.parametrize(
    "damage",
    [
        {"environments": {}},
        {"environments": {"envs/cu12": {}}},
        {"generations": [{"number": 1}]},
        {"generations": None},
        {"prepared": ["envs/gone"]},
        {"environments": {"envs/cu12": {**ENTRY, "stamp": [1]}}},
    ],
)
def test_a_damaged_history_is_never_read_as_an_empty_one(damage: dict[str, Any]) -> None:
    written = to_json(activate(History(), "cu12"), {})
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json({**written, **damage})


def test_a_switch_after_a_rollback_appends() -> None:
    history = activate(History(), "cu13", "cu12")
    back = history.go_back(history.find(1), prepared("cu13"))
    assert numbers(activate(back, "cpu")) == [1, 2, 3]
    assert activate(back, "cpu").active == 3


def test_going_back_to_what_is_active_makes_no_generation() -> None:
    history = activate(History(), "cu13", "cu12")
    assert history.go_back(history.find(2), prepared("cu12")) == history


def test_a_choice_that_the_user_confirms_is_no_longer_automatic() -> None:
    chosen = activate(History(), "cu13", automatic=True)
    confirmed = activate(chosen, "cu13")
    assert confirmed.current is not None
    assert not confirmed.current.automatic
    assert numbers(confirmed) == [1]


def test_an_automatic_choice_does_not_take_over_what_the_user_chose() -> None:
    manual = activate(History(), "cu13")
    assert activate(manual, "cu13", automatic=True) == manual


def test_without_a_number_the_generation_before_the_active_one_is_meant() -> None:
    history = activate(History(), "cu13", "cu12", "cpu")
    assert history.find(None).number == 2
    back = history.go_back(history.find(2), prepared("cu12"))
    assert back.find(None).number == 1


def test_going_back_without_a_number_leads_to_another_environment() -> None:
    history = activate(History(), "cu13", "cu12")
    back = history.go_back(history.find(None), prepared("cu13"))
    again = activate(back, "cu12")
    assert numbers(again) == [1, 2, 3]
    assert again.find(None).number == 1


@given(STEPS)
def test_going_back_always_leads_to_another_environment_of_an_earlier_number(
    steps: list[Step],
) -> None:
    for history in walk(steps):
        current = history.current
        others = [
            item
            for item in history.generations
            if current and item.number < current.number and item.prepared != current.prepared
        ]
        if others:
            assert history.find(None) == others[-1]
        else:
            with pytest.raises(NotPreparedError):
                history.find(None)


def test_an_environment_made_anew_takes_the_place_of_the_old_one_in_its_generation() -> None:
    history = activate(History(), "cu13", "cu12")
    back = history.go_back(history.find(1), prepared("cu13", stamp=7))
    assert back.current == Generation(
        number=1, prepared=prepared("cu13", stamp=7), automatic=False, time=100
    )
    assert back.find(2) == history.find(2)


def test_there_is_nothing_before_the_first_generation() -> None:
    with pytest.raises(NotPreparedError, match="there is no earlier generation") as caught:
        activate(History(), "cu13").find(None)
    assert caught.value.causes == ("generations are 1, active is 1",)


def test_nothing_is_earlier_where_nothing_was_active() -> None:
    with pytest.raises(NotPreparedError, match="there is no earlier generation") as caught:
        History().find(None)
    assert caught.value.causes == ()


def test_an_unknown_generation_is_an_error_that_shows_the_known_ones() -> None:
    with pytest.raises(NotPreparedError, match="there is no generation 9") as caught:
        activate(History(), "cu13", "cu12").find(9)
    assert caught.value.code == "generation-unknown"
    assert caught.value.exit_code == 1
    assert caught.value.causes == ("generations are 1, 2, active is 2",)


def of(folder: str, profile: str, inputs: str = "1", environment: str = "") -> Prepared:
    """An environment that belongs to one project of a workspace."""
    return Prepared(
        profile=profile,
        environment=environment or f"envs/{folder}-{profile}-{inputs}",
        stamp=(1, 0),
        inputs=inputs,
        recipe={**RECIPE, "folder": folder},
    )


def test_every_project_of_a_workspace_has_prepared_profiles_of_its_own() -> None:
    ready = (of("a", "cu12"), of("b", "cu12"), of("a", "cpu"))

    assert of_folder(ready, "a") == {"cu12": of("a", "cu12"), "cpu": of("a", "cpu")}
    assert of_folder(ready, "b") == {"cu12": of("b", "cu12")}
    assert of_folder(ready, "c") == {}


def test_what_one_project_prepares_anew_leaves_that_of_another() -> None:
    old = (of("a", "cu12"), of("b", "cu12"), of("a", "cpu"))
    new = [of("a", "cu12", "2"), of("a", "cu13", "2")]

    ready = with_prepared(old, new)

    assert of_folder(ready, "a") == {
        "cu12": of("a", "cu12", "2"),
        "cpu": of("a", "cpu"),
        "cu13": of("a", "cu13", "2"),
    }
    assert of_folder(ready, "b") == {"cu12": of("b", "cu12")}
    assert len(ready) == 4


def test_prepared_environments_of_two_projects_survive_being_written() -> None:
    ready = with_prepared((of("a", "cu12"),), (of("b", "cu12"),))

    _, read = from_json(json.loads(json.dumps(to_json(History(), ready))))

    assert read == ready


def test_an_environment_is_like_another_of_the_same_profile_and_inputs() -> None:
    one = of("a", "cu12", environment="envs/one")

    assert one.is_like(of("a", "cu12", environment="envs/two"))
    assert not one.is_like(of("a", "cu12", "2", environment="envs/one"))
    assert not one.is_like(of("a", "cu13", environment="envs/one"))


def test_other_inputs_for_the_same_profile_make_a_generation() -> None:
    history = History()
    for inputs in ("1", "2", "1"):
        history = history.activate(of("a", "cu12", inputs), automatic=False, now=1)

    assert numbers(history) == [1, 2, 3]


def test_an_environment_made_again_makes_no_generation_and_replaces_the_lost_one() -> None:
    lost, again = (of("a", "cu12", environment=name) for name in ("envs/lost", "envs/again"))
    other = of("a", "cpu")
    history = History()
    for item in (lost, other, lost):
        history = history.activate(item, automatic=False, now=1)

    renewed = history.activate(again, automatic=False, now=2)

    assert numbers(renewed) == [1, 2, 3]
    assert renewed.active == 3
    assert [item.prepared for item in renewed.generations] == [again, other, again]


def test_a_rollback_is_by_hand_and_leaves_what_the_others_were() -> None:
    history = activate(History(), "cu13", "cu12", "cpu", automatic=True)

    back = history.go_back(history.find(1), prepared("cu13"))

    assert [item.automatic for item in back.generations] == [False, True, True]
    assert back.active == 1


def test_an_automatic_choice_does_not_take_over_a_rollback() -> None:
    history = activate(History(), "cu13", "cu12", automatic=True)
    back = history.go_back(history.find(1), prepared("cu13"))

    assert activate(back, "cu13", automatic=True) == back
