"""A history that cannot work is refused when the room is defined, in a sentence that names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tickwire import Room, Table, angle, blob, local, quaternion, real, text, uint
from tickwire.server.replication.entity_ids import QUARANTINE_TICKS
from tickwire.server.rooms.declarations import TICK_RATE_HZ_MAX
from tickwire.server.rooms.history_declarations import HISTORY_S_MAX


class Balloons(Table):
    x = real(-100, 100, step=1 / 16)
    heading = angle(bits=8)
    lives = uint(bits=4)
    radius = local(np.float32)
    label = text()
    picture = blob(bytes_max=8)
    spin = quaternion()


def define(**attributes: Any) -> type[Room]:
    return type(Room)("Sky", (Room,), {"__annotations__": {"balloons": Balloons}, **attributes})


def test_columns_of_numbers_can_be_kept() -> None:
    for names in (("x",), ["x", "heading", "lives", "radius"]):
        kind = define(history_s=0.5, history={"balloons": names}, view_delay_ticks=2)
        assert kind(room_id="r", name="", seed=1).history == {"balloons": names}
    define(history_s=2, history={"balloons": ("x",)})


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"history_s": -0.5}, r"Sky\.history_s is -0\.5; must be a number, 0 to 2"),
        ({"history_s": 2.5, "history": {"balloons": ("x",)}}, r"Sky\.history_s is 2\.5; must be a number, 0 to 2"),
        ({"history_s": "1"}, r"Sky\.history_s is '1'; must be a number"),
        ({"view_delay_ticks": 21}, r"Sky\.view_delay_ticks is 21; must be a number, 0 to 20"),
        ({"view_delay_ticks": float("nan")}, r"Sky\.view_delay_ticks is nan; must be a number"),
        ({"history_s": 0.5}, r"Sky has history_s without history: a history requires both"),
        ({"history": {"balloons": ("x",)}}, r"Sky has history without history_s: a history requires both"),
        (
            {"history_s": 0.01, "history": {"balloons": ("x",)}},
            r"Sky\.history_s is 0\.01: .* at least one tick, 0\.05 s",
        ),
        ({"history_s": 0.5, "history": ("balloons",)}, r"Sky\.history must be a mapping from tables to columns"),
        ({"history_s": 0.5, "history": {"birds": ("x",)}}, r"Sky\.history contains 'birds', which is not a table"),
        ({"history_s": 0.5, "history": {"balloons": "x"}}, r"Sky\.history\['balloons'\] must be a tuple of columns"),
        ({"history_s": 0.5, "history": {"balloons": ()}}, r"Sky\.history\['balloons'\] must be a tuple of columns"),
        (
            {"history_s": 0.5, "history": {"balloons": ("x", "y")}},
            r"\['balloons'\] contains 'y', which is not a column",
        ),
        ({"history_s": 0.5, "history": {"balloons": ("channel",)}}, r"contains 'channel', which is not a column"),
        (
            {"history_s": 0.5, "history": {"balloons": ("label",)}},
            r"contains 'label': a text or a blob cannot be kept",
        ),
        ({"history_s": 0.5, "history": {"balloons": ("picture",)}}, r"contains 'picture': a text or a blob cannot"),
        ({"history_s": 0.5, "history": {"balloons": (Balloons.x,)}}, r"which is not a column"),
    ],
)
def test_a_history_that_cannot_work_is_refused(attributes: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        define(**attributes)


def test_a_table_that_a_snapshot_cannot_have_as_an_attribute_is_refused() -> None:
    attributes = {"history_s": 0.5, "history": {"later": ("x",)}}
    with pytest.raises(TypeError, match=r"Sky\.history contains 'later', which the result of rewind uses itself"):
        type(Room)("Sky", (Room,), {"__annotations__": {"later": Balloons}, **attributes})


def test_no_history_is_longer_than_the_quarantine_of_ids() -> None:
    """Otherwise one id could mean two entities in one history."""
    assert HISTORY_S_MAX * TICK_RATE_HZ_MAX < QUARANTINE_TICKS
