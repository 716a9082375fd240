"""The output of `tickwire codegen typescript`."""

from __future__ import annotations

from tests.harness.sample_rooms import Diary, Garden
from tickwire.server.rooms.typescript import generate_types


def test_tables_and_inputs_become_interfaces_with_value_comments() -> None:
    text = generate_types({"garden": Garden, "diary": Diary})
    assert "export interface GardenWalkers {\n  x: number; // -1000 to 1000\n}" in text
    assert "export interface GardenInputs {\n  dx?: number; // -1 to 1\n  is_bad?: number; // 0 or 1\n}" in text
    assert "tables: { walkers: GardenWalkers; flowers: GardenFlowers };" in text
    assert "speed" not in text, "local columns are not sent to clients"
    assert text.index("DiaryRoom") < text.index("GardenRoom")
