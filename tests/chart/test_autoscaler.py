"""Turning autoscaling on ends no shard, and it leaves a group of zero alone."""

from __future__ import annotations

import pytest

from tests.chart.charts import CHART, REQUIRED, Object, kinds, rendered, shard_of, values_of

KINDS = pytest.mark.parametrize("kind", ["hpa", "keda"])


def scaled(kind: str, *groups: Object, **more: object) -> list[Object]:
    scaling = {"enabled": True, "kind": kind, "prometheusUrl": "http://prometheus:9090", **more}
    return rendered(REQUIRED, {"autoscaling": scaling, **({"groups": list(groups)} if groups else {})})


def scalers(objects: list[Object]) -> dict[str, Object]:
    found = kinds(objects, "HorizontalPodAutoscaler") + kinds(objects, "ScaledObject")
    return {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in found}


@KINDS
def test_a_group_of_zero_has_no_autoscaler_and_stays_at_zero(kind: str) -> None:
    objects = scaled(kind, {"name": "blue", "replicas": 3}, {"name": "green", "replicas": 0})
    assert set(scalers(objects)) == {"tickwire-blue"}
    assert shard_of(objects, "green")["spec"]["replicas"] == 0


@KINDS
def test_turning_autoscaling_on_ends_no_shard(kind: str) -> None:
    """The API server sets `replicas` to 1 if the chart omits the field."""
    objects = scaled(kind, {"name": "a", "replicas": 5}, {"name": "b", "replicas": 1})
    assert shard_of(objects, "a")["spec"]["replicas"] == 5
    assert shard_of(objects, "b")["spec"]["replicas"] == 2, "the autoscaler's least"
    with pytest.raises(Exception, match="group a has 9"):
        scaled(kind, {"name": "a", "replicas": 9})


def test_the_blue_group_of_the_production_example_is_scaled_and_the_green_one_is_not() -> None:
    objects = rendered(values_of(CHART / "examples" / "production.yaml"))
    assert set(scalers(objects)) == {"tickwire-blue", "tickwire-api"}
    assert shard_of(objects, "blue")["spec"]["replicas"] == 8
    assert shard_of(objects, "green")["spec"]["replicas"] == 0


def test_without_autoscaling_the_number_is_that_of_the_group() -> None:
    assert shard_of(rendered(REQUIRED))["spec"]["replicas"] == 2


def test_keda_counts_the_rooms_of_one_group_alone() -> None:
    objects = scaled("keda", {"name": "a", "replicas": 2}, {"name": "a-b", "replicas": 2})
    query = scalers(objects)["tickwire-a"]["triggers"][0]["metadata"]["query"]
    assert query == 'sum(tickwire_rooms{namespace="game",pod=~"tickwire-a-[0-9]+"}) + 20'


def test_when_prometheus_does_not_answer_keda_leaves_the_fleet_as_it_is() -> None:
    spec = scalers(scaled("keda"))["tickwire-a"]
    assert spec["fallback"]["behavior"] == "currentReplicas"
    assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
