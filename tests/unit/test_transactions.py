"""Deals as values: what there can be, and what remains of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tickwire.limits import AMOUNT_MAX
from tickwire.server.rooms.transactions import ItemChange, Transaction, grant, net_changes, spend, trade, transfer


def test_a_trade_is_what_both_give() -> None:
    assert net_changes(trade("ann", {"gold": 3}, "bob", {"sword": 1, "bread": 2})) == {
        "ann": {"bread": 2, "gold": -3, "sword": 1},
        "bob": {"bread": -2, "gold": 3, "sword": -1},
    }


def test_what_evens_out_is_left_out() -> None:
    assert net_changes((*grant("ann", "gold", 5), *spend("ann", "gold", 5))) == {}
    assert net_changes(transfer("ann", "ann", "gold", 5)) == {}
    assert net_changes((*spend("bob", "gold", 5), *grant("ann", "gold", 2), *spend("bob", "gold", 1))) == {
        "ann": {"gold": 2},
        "bob": {"gold": -6},
    }


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (grant, ("ann", "gold", 0)),
        (grant, ("ann", "gold", -5)),
        (spend, ("ann", "gold", -5)),
        (grant, ("ann", "gold", AMOUNT_MAX)),
        (grant, ("ann", "gold", 0.5)),
        (grant, ("ann", "gold", 1.0)),
        (grant, ("ann", "gold", True)),
        (grant, ("ann", "gold", "1")),
        (grant, ("ann", "gold", None)),
        (grant, ("ann", "gold", np.float64(2.0))),
        (grant, ("ann", "gold", np.bool_(True))),
        (spend, ("ann", "gold", 0.5)),
        (transfer, ("ann", "bob", "gold", 0.5)),
        (trade, ("ann", {"gold": 0.5}, "bob", {})),
        (trade, ("ann", {"gold": 1}, "bob", {"bread": True})),
        (ItemChange, ("ann", "gold", 0.5)),
        (ItemChange, ("ann", "gold", True)),
        (ItemChange, (5, "gold", 1)),
        (ItemChange, ("ann", 5, 1)),
        (grant, ("ann", "", 1)),
        (grant, ("ann", "a.b", 1)),
        (grant, ("ann", "$set", 1)),
        (grant, ("ann", "x" * 65, 1)),
        (grant, ("", "gold", 1)),
        (transfer, ("ann", "bob", "gold", -1)),
        (trade, ("ann", {"gold": -1}, "bob", {})),
        (ItemChange, ("ann", "gold", 0)),
    ],
)
def test_what_cannot_be_is_no_move(make: Any, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        make(*wrong)


@pytest.mark.parametrize("amount", [0.5, 1.0, True, "1", None])
def test_an_amount_that_is_not_a_whole_number_is_refused_with_a_sentence(amount: Any) -> None:
    for make in (grant, spend, ItemChange):
        with pytest.raises(ValueError, match=f"the amount of gold must be an integer, not {amount!r}"):
            make("ann", "gold", amount)


def test_whole_numbers_of_numpy_are_amounts() -> None:
    (move,) = grant("ann", "gold", np.int32(3))
    assert type(move.amount) is int
    assert type(net_changes((move,))["ann"]["gold"]) is int


def test_a_deals_key_has_a_length() -> None:
    with pytest.raises(ValueError):
        Transaction(key="x" * 201)
