"""A state that does not fit its declaration: the smallest part that does not fit is taken out, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire import SaveData
from tickwire.server.replication.conversion import ShapeChanged
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SetAsideData, TooNew
from tickwire.server.rooms.salvage import find_misfit, salvage_checkpoint, salvage_state


class Coin(SaveData):
    owner: str
    amount: Annotated[int, msgspec.Meta(ge=0)]
    tags: list[str] = []


class Purse(SaveData):
    coins: list[Coin] = []
    by_player: dict[str, list[int]] = {}
    owner: str | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    names: frozenset[str] = frozenset()
    best: Coin | None = None
    numbers: Sequence[int] = ()
    counts: Mapping[str, int] = {}
    total: int = 7


GOOD: dict[str, Any] = {
    "coins": [{"owner": "ann", "amount": 1}],
    "by_player": {"ann": [1, 2]},
    "pairs": [[1, 2]],
    "best": {"owner": "ann", "amount": 3},
    "counts": {"a": 1},
}


@pytest.mark.parametrize(
    ("bad", "path", "kept"),
    [
        ({"coins": [{"owner": "ann", "amount": 0.5}, GOOD["coins"][0]]}, "state.coins[0]", {"coins": GOOD["coins"]}),
        ({"coins": [GOOD["coins"][0], 5]}, "state.coins[1]", {"coins": GOOD["coins"]}),
        ({"coins": [GOOD["coins"][0], {"owner": "bob"}]}, "state.coins[1]", {"coins": GOOD["coins"]}),
        (
            {"coins": [{"owner": "ann", "amount": 1, "tags": ["a", 5]}]},
            "state.coins[0].tags[1]",
            {"coins": [{"owner": "ann", "amount": 1, "tags": ["a"]}]},
        ),
        (
            {"by_player": {"ann": [1, "two"], "bob": [3]}},
            "state.by_player['ann'][1]",
            {"by_player": {"ann": [1], "bob": [3]}},
        ),
        ({"by_player": {"ann": 5, "bob": [3]}}, "state.by_player['ann']", {"by_player": {"bob": [3]}}),
        ({"pairs": [[1, 2], [3]]}, "state.pairs[1]", {"pairs": [[1, 2]]}),
        ({"names": ["a", None]}, "state.names[1]", {"names": ["a"]}),
        (
            {"best": {"owner": "ann", "amount": 1, "tags": [1]}},
            "state.best.tags[0]",
            {"best": {"owner": "ann", "amount": 1, "tags": []}},
        ),
        ({"best": {"owner": 5, "amount": 1}}, "state.best", {}),
        ({"numbers": [1, 0.5]}, "state.numbers[1]", {"numbers": [1]}),
        ({"counts": {"a": 1, "b": "x"}}, "state.counts['b']", {"counts": {"a": 1}}),
        ({"total": "many"}, "state.total", {}),
        ({"coins": "none"}, "state.coins", {}),
    ],
)  # fmt: skip
def test_the_smallest_part_that_does_not_fit_is_removed(bad: dict[str, Any], path: str, kept: dict[str, Any]) -> None:
    value = GOOD | bad
    assert find_misfit(Purse, value)
    found, rejected = salvage_state(Purse, value)
    assert [one.path for one in rejected] == [path]
    assert found == {name: one for name, one in GOOD.items() if name not in bad} | kept
    assert find_misfit(Purse, found) == ""
    Purse.read(1, found)


class Strict(SaveData):
    count: int
    names: list[str]
    best: str | None
    when: Coin


def test_required_fields_of_the_state_become_empty_or_it_is_refused() -> None:
    coin = {"owner": "ann", "amount": 1}
    found, rejected = salvage_state(Strict, {"count": "x", "names": 5, "best": 5, "when": coin})
    assert found == {"count": 0, "names": [], "best": None, "when": coin}
    assert [one.path for one in rejected] == ["state.count", "state.names", "state.best"]
    with pytest.raises(ShapeChanged, match="when"):
        salvage_state(Strict, {"count": 1, "names": [], "best": None})


def test_fitting_and_undeclared_values_are_unchanged() -> None:
    assert find_misfit(Purse, GOOD) == ""
    assert salvage_state(Purse, GOOD | {"of another build": object}) == (GOOD | {"of another build": object}, [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Purse.__struct_fields__, "other"]), VALUES))
def test_every_salvaged_state_can_be_read(value: dict[str, Any]) -> None:
    found, rejected = salvage_state(Purse, value)
    Purse.read(1, found)
    assert bool(rejected) == bool(find_misfit(Purse, value))


class NewerPurse(SaveData):
    version = 2
    coins: list[Coin] = []

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        return {"coins": saved["purse"]}


def state(value: dict[str, Any], error: str | None, version: int = 1) -> RoomCheckpoint:
    return RoomCheckpoint(1, 1, {}, value, version, state_error=error)


def test_a_state_that_fitted_when_it_was_saved_is_not_reduced() -> None:
    fitted = state({"total": "many"}, "")
    assert salvage_checkpoint(Purse, fitted) is fitted
    for error in ("it did not fit", None):
        found = salvage_checkpoint(Purse, state({"total": "many"}, error))
        assert (found.state, [one.value for one in found.rejected]) == ({}, ["many"])


def test_a_state_of_an_older_version_is_upgraded_first() -> None:
    found = salvage_checkpoint(
        NewerPurse, state({"purse": [{"owner": "ann", "amount": 0.5}, {"owner": "bob", "amount": 1}]}, "x")
    )
    assert (found.state, found.state_version) == ({"coins": [{"owner": "bob", "amount": 1}]}, 2)
    good = state({"purse": []}, None)
    assert salvage_checkpoint(NewerPurse, good) is good
    with pytest.raises(KeyError):
        salvage_checkpoint(NewerPurse, state({}, "x"))
    with pytest.raises(TooNew):
        salvage_checkpoint(NewerPurse, state({}, "x", version=3))


def test_a_set_aside_field_counts_as_saved() -> None:
    aside = RoomCheckpoint(1, 1, {}, {"coins": []}, state_error="x", set_aside=SetAsideData(fields={"total": "many"}))
    assert [one.path for one in salvage_checkpoint(Purse, aside).rejected] == ["state.total"]
