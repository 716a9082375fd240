"""A real kube-apiserver accepts what the chart renders: strict validation, and a namespace that is "restricted".

Each object is created as Helm 3 does, and applied on the server's side as Helm 4 does. No controller runs: the tests
create the pods of workloads. KUBEBUILDER_ASSETS names the folder of etcd and kube-apiserver.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.api_server import NAMESPACE, ApiServer, find_assets, running
from tests.chart.charts import CHART, EXAMPLES, REQUIRED, Object, kinds, merged, rendered, shard_of, values_of
from tests.chart.test_chart import CUSTOM
from tests.chart.test_extensions import EXTRA
from tests.chart.test_readme import GKE, RECIPES

ASSETS = find_assets()
pytestmark = [
    pytest.mark.skipif(ASSETS is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
    pytest.mark.timeout(300),
]
SKIPPED = {*CUSTOM, *GKE}
"""Kinds whose definitions are not part of Kubernetes."""
CREATED, OK, FORBIDDEN, INVALID = 201, 200, 403, 422
REFUSED = 400
"""The least status code of a refusal. Server-side apply reports a field that does not exist with 500."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
BLUE_GREEN = {"groups": [{"name": "blue", "replicas": 3}, {"name": "green", "replicas": 0}]}
ROWS: dict[str, Object] = {
    "defaults": {},
    "whole numbers": {
        "settings": {"edge": {"connections_max": 20000}},
        "loadtest": {"enabled": True, "users": 1_000_000},
    },
    "budget of zero": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "budget in percent": {
        "podDisruptionBudget": {"maxUnavailable": "50%", "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    },
    "slow gateway": {
        "minReadySeconds": 45,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
    },
    "autoscaling": {**BLUE_GREEN, "autoscaling": {"enabled": True, "kind": "hpa"}},
    "blue and green": {**BLUE_GREEN, "migrate": {"mongo": {"existingSecret": "owner"}}},
    "extensions": {
        **EXTRA,
        "initContainers": [{**EXTRA["initContainers"][0], "securityContext": RESTRICTED}],
        "extraContainers": [{**EXTRA["extraContainers"][0], "securityContext": RESTRICTED}],
        "service": {"annotations": {"a": "1"}, "shardAnnotations": {"b": "2"}, "labels": {"c": "3"}},
        "commonLabels": {"team": "games"},
        "commonAnnotations": {"owner": "ops"},
        "networkPolicy": {"extraEgress": [{"ports": [{"port": 4318}]}], "playersFrom": [{"podSelector": {}}]},
        "nameOverride": "game",
        "image": {"registry": "registry.example", "digest": f"sha256:{'a' * 64}", "pullSecrets": ["one"]},
    },
    "image tag": {"image": {"tag": "0.1.2"}},
    "long names": {"fullnameOverride": "n" * 35, "groups": [{"name": "a-long-groups-nm", "replicas": 1}]},
    "no user": {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "hosts and an ingress": {"routing": {"mode": "host", "api": "ingress", "ingress": {"tlsSecret": "play-tls"}}},
    **{f"example {file.stem}": values_of(file) for file in EXAMPLES},
    **{f"recipe {name}": merged(RECIPES["Installation"], values) for name, values in RECIPES.items()},
}
"""Values of each row of the tried installations, of each example, and of each recipe of the README."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    assert ASSETS is not None
    with running(ASSETS, tmp_path_factory.mktemp("api-server")) as found:
        priority: Object = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
        status, reason = found.create_cluster_object({**priority, "metadata": {"name": "game-servers"}})
        assert status == CREATED, reason
        yield found


@pytest.fixture
def namespace(server: ApiServer) -> str:
    """Return the name of a new namespace."""
    name = f"{NAMESPACE}-{secrets.token_hex(4)}"
    server.create_namespace(name)
    return name


def own(objects: list[Object]) -> list[Object]:
    """Return the objects of kinds that Kubernetes itself knows."""
    return [one for one in objects if one["kind"] not in SKIPPED]


def pods_of(objects: list[Object]) -> Iterator[Object]:
    """Yield the first pod of each workload, as its controller would create it."""
    for one in objects:
        if one["kind"] in ("StatefulSet", "Job"):
            pod = copy.deepcopy(one["spec"]["template"])
            metadata = pod["metadata"] | {"name": f"{one['metadata']['name']}-0"}
            yield {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata}


@pytest.mark.parametrize("row", ROWS)
def test_each_object_of_a_row_is_accepted(server: ApiServer, namespace: str, row: str) -> None:
    objects = own(rendered(merged(REQUIRED, ROWS[row])))
    assert len(objects) > 5
    for one in [*objects, *pods_of(objects)]:
        assert server.create(one, namespace) == (CREATED, ""), f"{one['kind']} {one['metadata']['name']}"
    for one in objects:  # Helm 4 takes over a release of Helm 3
        assert server.apply(one, namespace) == (OK, ""), f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("row", ROWS)
def test_each_object_of_a_row_can_be_applied_first(server: ApiServer, namespace: str, row: str) -> None:
    for one in own(rendered(merged(REQUIRED, ROWS[row]))):
        assert server.apply(one, namespace) == (CREATED, ""), f"{one['kind']} {one['metadata']['name']}"


def test_object_with_an_unknown_field_is_refused(server: ApiServer, namespace: str) -> None:
    """Otherwise the tests above would prove nothing."""
    shard = copy.deepcopy(shard_of(rendered(REQUIRED)))
    shard["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    for send in (server.create, server.apply):
        status, reason = send(shard, namespace)
        assert status >= REFUSED
        assert "livenessProb" in reason


def test_pod_with_privileges_is_refused(server: ApiServer, namespace: str) -> None:
    (pod, *_) = pods_of(kinds(rendered(REQUIRED), "StatefulSet"))
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    status, reason = server.create(pod, namespace)
    assert status == FORBIDDEN
    assert 'violates PodSecurity "restricted' in reason


def test_pod_with_two_variables_of_one_name_cannot_be_applied(server: ApiServer, namespace: str) -> None:
    """For this reason the chart refuses such names."""
    shard = copy.deepcopy(shard_of(rendered(REQUIRED)))
    variables = shard["spec"]["template"]["spec"]["containers"][0]["env"]
    variables.append({"name": "POD_INDEX", "value": "1"})
    status, reason = server.apply(shard, namespace)
    assert status >= REFUSED
    assert "POD_INDEX" in reason


def test_float_where_a_whole_number_belongs_is_refused(server: ApiServer, namespace: str) -> None:
    shard = copy.deepcopy(shard_of(rendered(REQUIRED)))
    shard["spec"]["minReadySeconds"] = 10.5
    for send in (server.create, server.apply):
        assert send(shard, namespace)[0] >= REFUSED


def test_settings_of_running_pods_cannot_change(server: ApiServer, namespace: str) -> None:
    """An upgrade adds another ConfigMap, and a rollback applies the first one again."""

    def settings_of(limit: int) -> list[Object]:
        objects = rendered(REQUIRED, {"settings": {"edge": {"connections_max": limit}}})
        return [*kinds(objects, "ConfigMap"), *kinds(objects, "StatefulSet")]

    for limit, status in ((20000, CREATED), (30000, CREATED), (20000, OK)):
        config, *shards = settings_of(limit)
        assert server.apply(config, namespace) == (status, "")
        for shard in shards:
            assert server.apply(shard, namespace)[0] in (CREATED, OK)
        stored = server.get(config, namespace)
        assert f"connections_max = {limit}\n" in stored["data"]["tickwire.toml"]
    changed = copy.deepcopy(settings_of(20000)[0])
    changed["data"]["tickwire.toml"] += "\n"
    status, reason = server.apply(changed, namespace)
    assert status == INVALID
    assert "immutable" in reason


def test_autoscaling_that_is_turned_on_leaves_the_replicas(server: ApiServer, namespace: str) -> None:
    scaled = {"autoscaling": {"enabled": True, "kind": "hpa", "minReplicas": 2}}
    for values in (BLUE_GREEN, merged(BLUE_GREEN, scaled)):
        objects = own(rendered(REQUIRED, values))
        for one in objects:
            assert server.apply(one, namespace)[0] in (CREATED, OK)
        replicas = [server.get(shard_of(objects, name), namespace)["spec"]["replicas"] for name in ("blue", "green")]
        assert replicas == [3, 0]


def test_update_from_every_other_row_is_accepted(server: ApiServer, namespace: str) -> None:
    """Only fields change that Kubernetes lets change in a running release."""
    other_names = {"extensions", "long names"}
    same_revision = {"whole numbers"}  # its load test has the immutable ConfigMap of "example loadtest"
    for row in [name for name in ROWS if name not in other_names | same_revision]:
        for one in own(rendered(merged(REQUIRED, ROWS[row]))):
            if one["kind"] not in ("Job", "Pod"):  # hooks, which Helm deletes before it creates them again
                status, reason = server.apply(one, namespace)
                assert status in (CREATED, OK), f"{row}: {one['kind']} {one['metadata']['name']}: {reason}"


def test_server_is_as_new_as_the_chart_requires(server: ApiServer) -> None:
    text = (Path(CHART) / "Chart.yaml").read_text()
    oldest = text.partition('kubeVersion: ">=')[2].partition(".0-0")[0]
    assert [int(part) for part in server.version.split(".")] >= [int(part) for part in oldest.split(".")]
