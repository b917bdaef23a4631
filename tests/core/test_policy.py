"""Which GPUs of a host a profile has to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.policy import ALL, GpuPolicy, Kind, counted, gpu_text, parse_policy
from provisioner.errors import UsageError
from tests.core.examples import gpu, gpus

if TYPE_CHECKING:
    from provisioner.core.host import Gpu, GpuStatus

BEST: Final = GpuPolicy(kind="best")
UUIDS: Final = (
    "GPU-3f1a0000-0000-0000-0000-000000000000",
    "GPU-3f1b0000-0000-0000-0000-000000000000",
    "GPU-90000000-0000-0000-0000-000000000000",
)
WITH_UUIDS: Final = tuple(gpu(index, "9.0", uuid=uuid) for index, uuid in enumerate(UUIDS))

ORIN: Final = gpu(0, "8.7", name="Orin (nvgpu)")
RTX_6000: Final = gpu(1, "8.9", name="NVIDIA RTX 6000 Ada Generation")


def indexes(policy: GpuPolicy, *cards: Gpu) -> list[int]:
    return [card.index for card in counted(policy, cards)]


def refused(policy: GpuPolicy, *cards: Gpu) -> UsageError:
    with pytest.raises(UsageError) as caught:
        counted(policy, cards)
    assert caught.value.exit_code == 2
    return caught.value


# What `--gpu-policy` says


@pytest.mark.parametrize("word", ["all", "any", "best"])
def test_a_word_is_read_and_written_as_it_was(word: Kind) -> None:
    assert parse_policy(word) == GpuPolicy(kind=word)
    assert str(parse_policy(f" {word} ")) == word


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0", ("0",)),
        ("0,2", ("0", "2")),
        (" 0 , 2 ", ("0", "2")),
        ("GPU-3f1a", ("GPU-3f1a",)),
        ("1,GPU-3f1a", ("1", "GPU-3f1a")),
    ],
)
def test_a_list_has_indexes_and_uuids(text: str, names: tuple[str, ...]) -> None:
    policy = parse_policy(text)
    assert policy == GpuPolicy(kind="list", names=names)
    assert str(policy) == ",".join(names)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("ALL", ["ALL"]),
        ("most", ["most"]),
        ("0,x,1,y", ["x", "y"]),
        ("0,", [""]),
        ("-1", ["-1"]),
        ("1.5", ["1.5"]),
        ("all,0", ["all"]),
        ("gpu-3f1a", ["gpu-3f1a"]),
        ("MIG-3f1a", ["MIG-3f1a"]),
        ("²", ["²"]),
        ("٣", ["٣"]),
        ("0,²", ["²"]),
        ("10000", ["10000"]),
    ],
)
def test_what_is_no_policy_is_refused_with_every_fault(text: str, wrong: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_policy(text)
    error = caught.value
    assert error.exit_code == 2
    assert error.message == f"`--gpu-policy {text}` is not a policy"
    assert error.causes == tuple(f"`{name}` is no index and no UUID of a GPU" for name in wrong)
    assert error.hint == "`--gpu-policy all`, `any`, `best`, or a list such as `0,2`"


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_policy_is_refused_as_such(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_policy(text)
    error = caught.value
    assert (error.exit_code, error.message) == (2, "`--gpu-policy` is empty")
    assert error.hint == "`--gpu-policy all`, `any`, `best`, or a list such as `0,2`"


def test_an_index_of_more_digits_than_can_be_read_is_a_usage_error() -> None:
    # `int` reads no more than 4300 digits.
    with pytest.raises(UsageError):
        parse_policy("9" * 5000)


def test_an_index_of_four_digits_is_of_a_gpu_that_may_be_there() -> None:
    assert parse_policy("9999").names == ("9999",)
    assert refused(parse_policy("9999"), *gpus("9.0")).causes[0] == "there is no single GPU `9999`"


# Which GPUs count


@pytest.mark.parametrize("kind", ["all", "any"])
def test_every_gpu_counts(kind: Kind) -> None:
    assert indexes(GpuPolicy(kind=kind), *gpus("7.0", "9.0", "7.0")) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["all", "any", "best"])
@pytest.mark.parametrize("status", ["lost", "failed", "no-permission"])
def test_a_gpu_that_cannot_be_used_does_not_count(kind: Kind, status: GpuStatus) -> None:
    cards = (gpu(0, "9.0", status=status), gpu(1, "8.0"))
    assert indexes(GpuPolicy(kind=kind), *cards) == [1]
    assert indexes(GpuPolicy(kind=kind), cards[0]) == []


@pytest.mark.parametrize("kind", ["all", "any", "best"])
def test_without_gpus_none_counts(kind: Kind) -> None:
    assert indexes(GpuPolicy(kind=kind)) == []


@pytest.mark.parametrize("kind", ["all", "any", "best"])
def test_an_integrated_gpu_does_not_count_beside_a_discrete_one(kind: Kind) -> None:
    assert indexes(GpuPolicy(kind=kind), ORIN, RTX_6000) == [1]


@pytest.mark.parametrize("kind", ["all", "any", "best"])
def test_an_integrated_gpu_alone_counts(kind: Kind) -> None:
    thor = gpu(0, "11.0", name="NVIDIA Thor")
    assert indexes(GpuPolicy(kind=kind), ORIN) == [0]
    assert indexes(GpuPolicy(kind=kind), thor) == [0]


def test_an_integrated_gpu_counts_beside_a_discrete_one_that_is_lost() -> None:
    assert indexes(ALL, ORIN, gpu(1, status="lost")) == [0]


def test_best_is_every_gpu_of_the_highest_compute_capability() -> None:
    assert indexes(BEST, *gpus("9.0", "7.0", "9.0", "8.9")) == [0, 2]


def test_compute_capabilities_are_compared_as_numbers() -> None:
    assert indexes(BEST, *gpus("9.0", "10.0", "8.9")) == [1]


def test_a_gpu_that_does_not_tell_is_not_the_best_beside_one_that_does() -> None:
    assert indexes(BEST, gpu(0), gpu(1, "5.2")) == [1]
    assert indexes(ALL, gpu(0), gpu(1, "5.2")) == [0, 1]


def test_where_no_gpu_tells_all_are_best() -> None:
    assert indexes(BEST, gpu(0), gpu(1)) == [0, 1]


# Lists


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1", [1]),
        ("2,0", [0, 2]),
        ("0,0", [0]),
        ("0,GPU-3f1a", [0]),
        (UUIDS[2], [2]),
        ("GPU-9", [2]),
        ("GPU-3f1b,0", [0, 1]),
        ("01", [1]),
    ],
)
def test_a_list_names_gpus_by_index_uuid_or_its_beginning(text: str, found: list[int]) -> None:
    assert indexes(parse_policy(text), *WITH_UUIDS) == found


def test_an_index_is_the_gpus_own_and_not_its_place() -> None:
    assert indexes(parse_policy("5"), gpu(5, "9.0"), gpu(0, "8.0")) == [5]


def test_a_list_may_name_what_would_not_count_otherwise() -> None:
    lost = gpu(2, "9.0", status="lost")
    assert indexes(parse_policy("0"), ORIN, RTX_6000, lost) == [0]
    assert indexes(parse_policy("2"), ORIN, RTX_6000, lost) == [2]


def test_names_of_gpus_that_are_not_there_are_refused_all_at_once() -> None:
    error = refused(parse_policy("0,7,GPU-77"), *WITH_UUIDS[:2])
    assert error.message == "`--gpu-policy 0,7,GPU-77` names GPUs that are not there"
    assert error.causes == (
        "there is no single GPU `7`",
        "there is no single GPU `GPU-77`",
        "the host has GPU 0 (`9.0`), GPU 1 (`9.0`)",
    )


def test_the_beginning_of_two_uuids_names_neither() -> None:
    assert refused(parse_policy("GPU-3f1"), *WITH_UUIDS).causes[0] == (
        "there is no single GPU `GPU-3f1`"
    )


@pytest.mark.parametrize("longer_first", [True, False])
def test_a_whole_uuid_names_its_gpu_beside_one_that_begins_with_it(*, longer_first: bool) -> None:
    whole, longer = gpu(0, "9.0", uuid="GPU-3f1a"), gpu(1, "9.0", uuid="GPU-3f1a0000")
    cards = (longer, whole) if longer_first else (whole, longer)
    assert indexes(parse_policy("GPU-3f1a"), *cards) == [0]
    assert indexes(parse_policy("GPU-3f1a0"), *cards) == [1]
    assert refused(parse_policy("GPU-3f1"), *cards).causes[0] == "there is no single GPU `GPU-3f1`"


def test_a_uuid_names_no_gpu_whose_uuid_is_not_known() -> None:
    assert (
        refused(parse_policy("GPU-3f1a"), *gpus("9.0")).causes[-1] == "the host has GPU 0 (`9.0`)"
    )


def test_a_list_on_a_host_without_gpus_says_so() -> None:
    assert refused(parse_policy("0")).causes == ("there is no single GPU `0`", "the host has none")


# In a message


@pytest.mark.parametrize(
    ("card", "text"),
    [
        (gpu(0, "9.0", name="NVIDIA H100"), "GPU 0 (NVIDIA H100, `9.0`)"),
        (gpu(3, "9.0"), "GPU 3 (`9.0`)"),
        (gpu(1, name="GRID A100X"), "GPU 1 (GRID A100X)"),
        (gpu(12), "GPU 12"),
    ],
)
def test_a_message_shows_what_is_known_of_a_gpu(card: Gpu, text: str) -> None:
    assert gpu_text(card) == text


# Laws


@st.composite
def some_gpus(draw: st.DrawFn, min_size: int = 0) -> tuple[Gpu, ...]:
    """GPUs of any kind and state, each with an index and a UUID of its own."""
    capabilities = st.sampled_from([None, "3.7", "7.0", "8.7", "9.0", "10.0", "11.0"])
    names = st.sampled_from([None, "NVIDIA H100", "Orin (nvgpu)", "NVIDIA Thor"])
    states = st.sampled_from(["ok", "ok", "lost", "failed", "no-permission"])
    size = draw(st.integers(min_size, 5))
    return tuple(
        gpu(
            index,
            draw(capabilities),
            name=draw(names),
            status=draw(states),
            uuid=f"GPU-{index:08x}",
        )
        for index in range(size)
    )


POLICIES: Final = st.sampled_from([GpuPolicy(kind=kind) for kind in ("all", "any", "best")])


@given(some_gpus(), POLICIES)
def test_what_counts_is_there_once_and_can_be_used(
    cards: tuple[Gpu, ...], policy: GpuPolicy
) -> None:
    found = counted(policy, cards)
    assert len(set(found)) == len(found)
    assert set(found) <= {card for card in cards if card.status == "ok"}
    assert bool(found) is any(card.status == "ok" for card in cards)


@given(some_gpus())
def test_best_is_among_all_and_none_is_better(cards: tuple[Gpu, ...]) -> None:
    every, best = counted(ALL, cards), counted(BEST, cards)
    assert set(best) <= set(every)
    assert len({card.compute_capability for card in best}) <= 1
    left = [card.compute_capability for card in every if card not in best]
    assert all(best[0].compute_capability > item for item in left if item)  # type: ignore[operator]  # known where another is


@given(some_gpus(min_size=1), st.data())
def test_a_list_is_what_it_names(cards: tuple[Gpu, ...], data: Any) -> None:  # noqa: ANN401 - hypothesis'
    named = data.draw(st.lists(st.sampled_from(cards), min_size=1))
    names = [str(c.index) if data.draw(st.booleans()) else str(c.uuid) for c in named]
    found = counted(parse_policy(",".join(names)), cards)
    assert set(found) == set(named)
    assert [card.index for card in found] == sorted({card.index for card in named})


@given(some_gpus(), POLICIES, st.randoms())
def test_the_order_of_the_gpus_does_not_matter(
    cards: tuple[Gpu, ...],
    policy: GpuPolicy,
    chance: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    shuffled = list(cards)
    chance.shuffle(shuffled)
    assert set(counted(policy, shuffled)) == set(counted(policy, cards))
