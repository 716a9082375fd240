"""The chart refuses values that cannot work when it is rendered, and names the value and the remedy."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator

import msgspec
import pytest

from helm.settings_schema import OWNED, VALUES_SCHEMA, text_of, values_schema
from tests.chart.charts import CHART, REQUIRED, Object, environment_of, helm, pods, rendered, settings_of, values_of
from tickwire.server.config import Settings

SECRET = "a secret of thirty-two characters or more"


def keys_of(section: msgspec.Struct, where: str = "") -> Iterator[str]:
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from keys_of(value, f"{where}{name}.")
        else:
            yield f"{where}{name}"


def nested(key: str, value: object) -> Object:
    """Return values for a key with dots in it."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"host": ""}, "host: set the name"),
        ({"redis": {"url": ""}}, "redis.url or redis.existingSecret"),
        ({"mongo": {"url": ""}}, "mongo.url or mongo.existingSecret"),
        ({"redis": {"url": "redis://:secret@redis:6379"}}, "redis.url: must not hold a user and a password"),
        ({"mongo": {"url": "mongodb://u:p@mongo/?replicaSet=rs0"}}, "mongo.url: must not hold"),
        ({"migrate": {"mongo": {"url": "mongodb://u:p@mongo/"}}}, "migrate.mongo.url: must not hold"),
        ({"tickets": {"existingSecret": ""}}, "tickets.existingSecret"),
        ({"tickets": {"current": "other"}}, "tickets.current"),
        ({"auth": {"guests": False}}, "no player could connect"),
        ({"termination": {"gracePeriodSeconds": 44}}, "too short; preStop, drain, shutdown and flush take 45"),
        ({"routing": {"gateway": {"parentRefs": []}}}, "name the Gateway"),
        ({"groups": [{"name": "a", "replicas": 17}]}, "more replicas than maxShards"),
        ({"groups": [{"name": "a", "replicas": 1}, {"name": "a", "replicas": 1}]}, "two groups have the name a"),
        ({"groups": [{"name": "a-1", "replicas": 1}]}, "must not end in a number"),
        ({"groups": [{"name": "loadtest", "replicas": 1}]}, "loadtest is used by the chart"),
        ({"extraEnv": [{"name": "POD_INDEX", "value": "1"}]}, "extraEnv: the name POD_INDEX is used"),
        (
            {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
            "extraEnv: the name A is used twice",
        ),
        ({"migrate": {"extraEnv": [{"name": "A"}, {"name": "A"}]}}, "migrate.extraEnv: the name A is used twice"),
        ({"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "extraVolumes: the name tmp is used"),
        (
            {"extraVolumeMounts": [{"name": "a", "mountPath": "/tmp"}]},
            "extraVolumeMounts: the mountPath /tmp is used",
        ),
        ({"hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}, "hostAliases: the ip 10.0.0.1 is used twice"),
        ({"podLabels": {"tickwire/group": "b"}}, "podLabels: the chart sets tickwire/group itself"),
        ({"commonLabels": {"app.kubernetes.io/name": "b"}}, "commonLabels: the chart sets app.kubernetes.io/name"),
        (
            {"monitoring": {"rules": {"labels": {"helm.sh/chart": "b"}}}},
            "monitoring.rules.labels: the chart sets helm.sh/chart itself",
        ),
        ({"extraContainers": [{"name": "shard", "image": "a:1"}]}, "extraContainers: the name shard is used"),
        ({"autoscaling": {"minReplicas": 9}}, "autoscaling.minReplicas: must be at most autoscaling.maxReplicas"),
        ({"autoscaling": {"enabled": True, "maxReplicas": 17}}, "autoscaling.maxReplicas: must be at most maxShards"),
        ({"autoscaling": {"enabled": True, "kind": "keda"}}, "autoscaling.prometheusUrl"),
        ({"nonsense": 1}, "nonsense"),
        ({"image": {"tagg": "1"}}, "tagg"),
        ({"maxShards": 0}, "maxShards"),
        ({"fullnameOverride": "a" * 36}, "fullnameOverride"),
    ],
)
def test_invalid_value_is_refused_with_instructions(values: Object, words: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(words)):
        rendered(REQUIRED, values)


# -- settings ------------------------------------------------------------------------------------------------


def test_schema_of_settings_matches_the_server() -> None:
    assert VALUES_SCHEMA.read_text() == text_of(values_schema()), "run `make chart-schema`"


def test_every_setting_that_the_chart_owns_is_one_of_the_server() -> None:
    assert set(OWNED) <= set(keys_of(Settings()))


@pytest.mark.parametrize("key", sorted(OWNED))
def test_setting_owned_by_the_chart_is_refused_with_the_value_to_use(key: str) -> None:
    words = re.escape(f"settings.{key}: must not be set here; {OWNED[key]}")
    with pytest.raises(helm.HelmError, match=words):
        rendered(REQUIRED, {"settings": nested(key, 0)})
    variable = "TICKWIRE__" + key.upper().replace(".", "__")
    for name in (variable, f"{variable}__A"):
        with pytest.raises(helm.HelmError, match=re.escape(f"extraEnv: {name} must not be set here")):
            rendered(REQUIRED, {"extraEnv": [{"name": name, "value": "1"}]})


def test_every_setting_owned_by_the_chart_is_refused() -> None:
    """The chart owns every key in the file and the environment of a shard, in every example."""
    for file in sorted((CHART / "examples").glob("*.yaml")):
        values = values_of(file)
        own = rendered(values, {"settings": None})
        toml = tomllib.loads(settings_of(own))
        found = {f"{name}.{key}" for name, inner in toml.items() if isinstance(inner, dict) for key in inner}
        found |= {name for name, inner in toml.items() if not isinstance(inner, dict)}
        shard = next(pod for pod in pods(own) if pod["containers"][0]["name"] == "shard")
        for name in environment_of(shard):
            if name.startswith("TICKWIRE__"):
                parts = name.removeprefix("TICKWIRE__").lower().split("__")
                found.add(".".join(parts[:2]))
        assert found <= set(OWNED), file.stem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"edge": {"conections_max": 5}}, "conections_max"),
        ({"edge": {"connections_max": 0}}, "connections_max"),
        ({"edge": {"connections_max": 2.5}}, "connections_max"),
        ({"edge": {"connections_max": "20000"}}, "connections_max"),
        ({"edge": {"duplicate_sessions": "both"}}, "duplicate_sessions"),
        ({"edge": {"origins": "https://a.example"}}, "origins"),
        ({"redis": {"lease_s": 1}}, "lease_s"),
        ({"logging": {"level": "loud"}}, "level"),
        ({"traces": {"endpoint": "collector:4318"}}, "endpoint"),
        ({"edge": 5}, "edge"),
        ({"unknown": {}}, "unknown"),
    ],
)
def test_invalid_setting_is_refused_by_name(settings: Object, words: str) -> None:
    with pytest.raises(helm.HelmError, match=words):
        rendered(REQUIRED, {"settings": settings})


def test_every_other_setting_may_be_set_to_its_default() -> None:
    free = sorted(set(keys_of(Settings())) - set(OWNED))
    assert len(free) > 30
    given: Object = {}
    for key in free:
        value: object = Settings()
        *sections, name = key.split(".")
        inner = given
        for section in sections:
            value, inner = getattr(value, section), inner.setdefault(section, {})
        inner[name] = getattr(value, name)
    assert rendered(REQUIRED, {"settings": given})


def test_no_secret_of_the_settings_is_rendered() -> None:
    for key in ("auth.secret", "operations.token", "tickets.keys.current"):
        with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm.HelmError) as refused:
            chart.render({**REQUIRED, "settings": nested(key, SECRET)}, name="tickwire", namespace="game")
        assert SECRET not in str(refused.value)
    with pytest.raises(helm.HelmError, match="a URL holds a user and a password"):
        rendered(REQUIRED, {"settings": {"traces": {"endpoint": "http://u:p@collector:4318/v1/traces"}}})


def test_schema_is_valid_json_schema() -> None:
    settings = json.loads(VALUES_SCHEMA.read_text())["properties"]["settings"]["properties"]
    limit = settings["edge"]["properties"]["connections_max"]
    assert limit["description"] == "Must be a whole number from 1 to 10000000."
    assert (limit["type"], limit["minimum"], limit["maximum"]) == ("integer", 1, 10_000_000)
    assert settings["listen"]["properties"]["port"]["description"].startswith("Set by the chart")
