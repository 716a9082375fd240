"""Deals as values: what there can be, and what remains of them."""

from __future__ import annotations

from typing import Any

import pytest

from server.rooms.deals import AMOUNT_MAX, Deal, Move, grant, net, spend, trade, transfer


def test_a_trade_is_what_both_give() -> None:
    assert net(trade("ann", {"gold": 3}, "bob", {"sword": 1, "bread": 2})) == {
        "ann": {"bread": 2, "gold": -3, "sword": 1},
        "bob": {"bread": -2, "gold": 3, "sword": -1},
    }


def test_what_evens_out_is_left_out() -> None:
    assert net((*grant("ann", "gold", 5), *spend("ann", "gold", 5))) == {}
    assert net(transfer("ann", "ann", "gold", 5)) == {}
    assert net((*spend("bob", "gold", 5), *grant("ann", "gold", 2), *spend("bob", "gold", 1))) == {
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
        (grant, ("ann", "", 1)),
        (grant, ("ann", "a.b", 1)),
        (grant, ("ann", "$set", 1)),
        (grant, ("ann", "x" * 65, 1)),
        (grant, ("", "gold", 1)),
        (transfer, ("ann", "bob", "gold", -1)),
        (trade, ("ann", {"gold": -1}, "bob", {})),
        (Move, ("ann", "gold", 0)),
    ],
)
def test_what_cannot_be_is_no_move(make: Any, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        make(*wrong)


def test_a_deals_key_has_a_length() -> None:
    with pytest.raises(ValueError):
        Deal(key="x" * 201)
