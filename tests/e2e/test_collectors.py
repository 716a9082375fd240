"""A running shard exports the metrics that the dashboard and the alerts use."""

from __future__ import annotations

import json
import re

import aiohttp

from tests.chart.test_chart import DASHBOARD, alerts, metrics_in
from tests.harness.polling import eventually
from tickwire.client.client import connect
from tickwire.server.shard import Shard


async def test_every_panel_and_alert_uses_metrics_of_a_running_shard(shard: Shard) -> None:
    asked = {name for rule in alerts() for name in metrics_in(rule["expr"])}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked |= {name for panel in panels for one in panel.get("targets", ()) for name in metrics_in(one["expr"])}
    async with connect(shard.url) as client, aiohttp.ClientSession() as session:
        await client.join("garden")
        await client.wait_for(lambda: client.ticks_received > 3)

        async def scrape() -> str:
            async with session.get(f"http://127.0.0.1:{shard.parts.operations.port}/metrics") as answer:
                return await answer.text()

        async def has_felt_its_pulse() -> bool:
            return float(re.findall(r"^tickwire_loop_lag_seconds_count (\S+)$", await scrape(), re.MULTILINE)[0]) > 0

        await eventually(has_felt_its_pulse)
        text = await scrape()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    shown = set(kinds) | {f"{name}_bucket" for name, kind in kinds.items() if kind == "histogram"}
    assert len(asked) > 30
    assert asked <= shown
    values = {name: float(value) for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)}
    for name in ("tickwire_redis_duration_seconds_count", "tickwire_mongo_duration_seconds_count"):
        assert values[name] > 0
    assert values["tickwire_ticks_total"] > 0
    assert values["tickwire_encode_seconds_total"] > 0
