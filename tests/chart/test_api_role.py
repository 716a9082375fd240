"""The role api in the chart: its pods, its routes, and what only they receive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.chart.charts import (
    CHART,
    REQUIRED,
    Object,
    environment_of,
    helm,
    kinds,
    pods,
    rendered,
    settings_of,
    shard_of,
    values_of,
)
from tests.chart.test_readme import GKE, RECIPES
from tickwire.server import config

API: Object = {"api": {"enabled": True}, "accounts": {"existingSecret": "accounts"}, "auth": {"accounts": True}}
NAME = "tickwire-api"


def named(objects: list[Object], kind: str, name: str = NAME) -> Object:
    (found,) = [one for one in kinds(objects, kind) if one["metadata"]["name"] == name]
    return found


def test_role_is_off_by_default() -> None:
    objects = rendered(REQUIRED)
    assert kinds(objects, "Deployment") == []
    assert not any(NAME in one["metadata"]["name"] for one in objects)
    assert "[api]" not in settings_of(objects), "an upgrade of the chart alone replaces no shard"


def test_pods_read_settings_that_the_server_accepts(tmp_path: Path) -> None:
    objects = rendered(REQUIRED, API, {"settings": {"api": {"operation_limits": {"login_device": "5/60s"}}}})
    (pod,) = pods(kinds(objects, "Deployment"))
    (container,) = pod["containers"]
    environ = {name: one.get("value", "x" * 40) for name, one in environment_of(pod).items()}
    toml = tmp_path / "tickwire.toml"
    toml.write_text(settings_of(objects))
    settings = config.load(toml, environ)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert (settings.api.port, settings.api.operations_port) == (ports["api"], ports["operations"])
    assert (settings.api.host, settings.operations.host, settings.api.plaintext) == ("0.0.0.0", "0.0.0.0", True)
    assert settings.api.player_url == "wss://play.example.test"
    assert settings.api.operation_limits == {"login_device": "5/60s"}
    assert settings.auth.accounts
    assert settings.accounts.secret == "x" * 40
    assert container["args"] == ["api", "--config", "/etc/tickwire/tickwire.toml"]
    assert pod["volumes"][0] == next(iter(pods([shard_of(objects)])))["volumes"][0], "the settings of the shards"


def test_secret_of_the_accounts_reaches_the_api_alone() -> None:
    objects = rendered(REQUIRED, API, {"accounts": {"previousKey": "before"}})
    for pod in pods(objects):
        secret = {"TICKWIRE__ACCOUNTS__SECRET", "TICKWIRE__ACCOUNTS__PREVIOUS_SECRETS"}
        is_api = pod["containers"][0]["name"] == "api"
        assert (secret & environment_of(pod).keys() == secret) == is_api, pod["containers"][0]["name"]
    (pod,) = pods(kinds(objects, "Deployment"))
    found = environment_of(pod)["TICKWIRE__ACCOUNTS__SECRET"]
    assert found["valueFrom"] == {"secretKeyRef": {"name": "accounts", "key": "secret"}}


def test_shards_receive_the_secret_of_the_accounts_on_request() -> None:
    """The admin API, which shards serve, changes accounts only with it."""
    objects = rendered(REQUIRED, API, {"accounts": {"previousKey": "before", "shards": True}})
    (api,) = pods(kinds(objects, "Deployment"))
    (shard,) = pods([shard_of(objects)])
    for name in ("TICKWIRE__ACCOUNTS__SECRET", "TICKWIRE__ACCOUNTS__PREVIOUS_SECRETS"):
        assert environment_of(shard)[name] == environment_of(api)[name]


def test_settings_of_the_api_alone_do_not_keep_shards_from_starting(tmp_path: Path) -> None:
    key = {"name": "TICKWIRE__ACCOUNTS__PROVIDERS__STEAM_KEY", "value": "y" * 32}
    steam = {"settings": {"accounts": {"providers": {"steam_app_id": "480"}}}, "api": {"extraEnv": [key]}}
    objects = rendered(REQUIRED, API, steam)
    toml = tmp_path / "tickwire.toml"
    toml.write_text(settings_of(objects))
    keys = set()
    for pod in pods([shard_of(objects), *kinds(objects, "Deployment")]):
        environ = {name: one.get("value", "x" * 40) for name, one in environment_of(pod).items()}
        keys.add(config.load(toml, environ).accounts.providers.steam_key)
    assert keys == {"", "y" * 32}


def test_each_selector_selects_one_role() -> None:
    objects = rendered(REQUIRED, API, {"api": {"autoscaling": {"enabled": True}}})
    labels = {
        "api": named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"],
        "shard": shard_of(objects)["spec"]["template"]["metadata"]["labels"],
    }

    def selected(selector: dict[str, str]) -> set[str]:
        return {role for role, found in labels.items() if selector.items() <= found.items()}

    for one in objects:
        if one["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet"):
            selector: Any = one["spec"].get("selector") or one["spec"]["podSelector"]
            role = "api" if one["metadata"]["name"].startswith(NAME) else "shard"
            wanted = dict(selector.get("matchLabels", selector))
            wanted.pop("apps.kubernetes.io/pod-index", None)  # a label that Kubernetes adds
            assert selected(wanted) == {role}, one["metadata"]["name"]
    scaler = named(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 8)


def test_ports_lead_to_the_pods() -> None:
    objects = rendered(REQUIRED, API, {"monitoring": {"serviceMonitor": {"enabled": True}}})
    (pod,) = pods(kinds(objects, "Deployment"))
    ports = {one["name"] for one in pod["containers"][0]["ports"]}
    (port,) = named(objects, "Service")["spec"]["ports"]
    assert port["targetPort"] in ports
    scraped = named(objects, "Service", f"{NAME}-pods")
    monitor = named(objects, "ServiceMonitor", "tickwire")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= scraped["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["spec"]["endpoints"]} == {one["name"] for one in scraped["spec"]["ports"]}
    policy = named(objects, "NetworkPolicy")["spec"]
    assert {one["port"] for rule in policy["ingress"] for one in rule["ports"]} == ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert pod["containers"][0][probe]["httpGet"]["port"] in ports


def test_paths_of_the_api_under_the_host_of_the_players() -> None:
    (rule,) = named(rendered(REQUIRED, API), "HTTPRoute")["spec"]["rules"]
    paths = {(one["path"]["type"], one["path"]["value"]) for one in rule["matches"]}
    assert paths == {("PathPrefix", "/v1"), ("Exact", "/.well-known/jwks.json")}
    assert rule["backendRefs"] == [{"name": NAME, "port": 80}]
    (ingress,) = kinds(rendered(values_of(CHART / "examples" / "small.yaml")), "Ingress")
    paths = [(one["pathType"], one["path"]) for one in ingress["spec"]["rules"][0]["http"]["paths"]]
    assert paths[-3:] == [("Prefix", "/v1"), ("Exact", "/.well-known/jwks.json"), ("Prefix", "/")], "the first wins"


@pytest.mark.parametrize("api", ["gateway", "ingress"])
def test_api_may_have_a_host_of_its_own(api: str) -> None:
    values = {"api": {"host": "api.example.test", "tlsSecret": "api-tls"}}
    values["routing"] = {"api": api, "ingress": {"tlsSecret": "play-tls"}}
    objects = rendered(REQUIRED, API, values)
    if api == "gateway":
        route = named(objects, "HTTPRoute")["spec"]
        assert route["hostnames"] == ["api.example.test"]
        assert "matches" not in route["rules"][0]
    else:
        ingress = named(objects, "Ingress")["spec"]
        assert ingress["tls"] == [{"hosts": ["api.example.test"], "secretName": "api-tls"}]
        assert [one["path"] for one in ingress["rules"][0]["http"]["paths"]] == ["/"]


def test_health_checks_of_load_balancers_find_the_port_of_both_roles() -> None:
    objects = rendered(REQUIRED, API)
    roles = kinds(objects, "Deployment") + kinds(objects, "StatefulSet")
    containers = [pod["containers"][0] for pod in pods(roles)]
    ports = [port["containerPort"] for one in containers for port in one["ports"] if port["name"] == "operations"]
    assert ports == [9090, 9090], "the recipes of the README name one port"


def test_on_gke_the_service_of_the_api_has_its_policies() -> None:
    objects = rendered(REQUIRED, RECIPES["GKE Gateway"], API)
    for kind in GKE:
        assert NAME in {one["spec"]["targetRef"]["name"] for one in kinds(objects, kind)}


def test_upgrade_keeps_a_pod_that_answers() -> None:
    objects = rendered(REQUIRED, API)
    spec = named(objects, "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["replicas"] == 2
    assert named(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"accounts": {"existingSecret": ""}}, "accounts.existingSecret must be set, because api.enabled is"),
        (
            {
                "api": {"enabled": False},
                "auth": {"accounts": False},
                "accounts": {"existingSecret": "", "shards": True},
            },
            "accounts.existingSecret must be set, because accounts.shards is",
        ),
        ({"api": {"enabled": False}}, "auth.accounts: needs the role api"),
        ({"api": {"autoscaling": {"minReplicas": 9}}}, "api.autoscaling.minReplicas: must be at most"),
        ({"api": {"replicas": 9, "autoscaling": {"enabled": True}}}, "api.autoscaling.maxReplicas: must be at least"),
        (
            {"api": {"gracePeriodSeconds": 19}},
            "api.gracePeriodSeconds: 19 is too short; preStop, drain and flush take 20",
        ),
        ({"api": {"host": "play.example.test"}}, "api.host: must be another name than host"),
        ({"groups": [{"name": "api", "replicas": 1}]}, "the name api is used by the chart"),
        ({"api": {"extraEnv": [{"name": "A"}, {"name": "A"}]}}, "api.extraEnv: the name A is used twice"),
        (
            {"api": {"extraEnv": [{"name": "TICKWIRE__ACCOUNTS__SECRET", "value": "x"}]}},
            "TICKWIRE__ACCOUNTS__SECRET must not be set here; it is a secret: set accounts.existingSecret",
        ),
        ({"api": {"replicas": 0}}, "replicas"),
    ],
)
def test_invalid_value_of_the_role_is_refused(values: Object, words: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(words)):
        rendered(REQUIRED, API, values)
