"""Transactions as values: their validation, and the sum of their changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tickwire.limits import AMOUNT_MAX
from tickwire.server.rooms.transactions import ItemChange, Transaction, grant, net_changes, spend, trade, transfer


def test_a_trade_contains_both_sides() -> None:
    assert net_changes(trade("ann", {"gold": 3}, "bob", {"sword": 1, "bread": 2})) == {
        "ann": {"bread": 2, "gold": -3, "sword": 1},
        "bob": {"bread": -2, "gold": 3, "sword": -1},
    }


def test_changes_that_cancel_out_are_omitted() -> None:
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
def test_an_invalid_item_change_is_refused(make: Any, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        make(*wrong)


@pytest.mark.parametrize("amount", [0.5, 1.0, True, "1", None])
def test_an_amount_that_is_not_an_integer_is_refused(amount: Any) -> None:
    for make in (grant, spend, ItemChange):
        with pytest.raises(ValueError, match=f"the amount of gold must be an integer, not {amount!r}"):
            make("ann", "gold", amount)


def test_numpy_integers_are_valid_amounts() -> None:
    (move,) = grant("ann", "gold", np.int32(3))
    assert type(move.amount) is int
    assert type(net_changes((move,))["ann"]["gold"]) is int


def test_a_transaction_key_has_a_maximum_length() -> None:
    with pytest.raises(ValueError):
        Transaction(key="x" * 201)
