"""Additions of operators to the chart: environment, volumes, containers, annotations, labels, names, more objects."""

from __future__ import annotations

import pytest

from tests.chart.charts import REQUIRED, Object, kinds, merged, rendered, shard_of

EXTRA: Object = {
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.pem"}],
    "envFrom": [{"secretRef": {"name": "game"}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    "initContainers": [{"name": "wait", "image": "busybox:1", "command": ["true"]}],
    "extraContainers": [{"name": "sidecar", "image": "busybox:1"}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["redis.internal"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.53"]},
    "priorityClassName": "game-servers",
    "nodeSelector": {"pool": "games"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"prometheus.io/scrape": "true"},
    "podLabels": {"sidecar.istio.io/inject": "true"},
}


def pod_of(objects: list[Object], group: str = "a") -> Object:
    spec: Object = shard_of(objects, group)["spec"]["template"]["spec"]
    return spec


def test_added_volumes_and_containers_reach_the_shards_pods() -> None:
    objects = rendered(REQUIRED, EXTRA)
    pod = pod_of(objects)
    shard, sidecar = pod["containers"]
    assert shard["env"][-1] == EXTRA["extraEnv"][0]
    assert shard["envFrom"] == EXTRA["envFrom"]
    assert EXTRA["extraVolumes"][0] in pod["volumes"]
    assert EXTRA["extraVolumeMounts"][0] in shard["volumeMounts"]
    assert sidecar == EXTRA["extraContainers"][0]
    same = ("initContainers", "hostAliases", "dnsPolicy", "dnsConfig", "priorityClassName", "nodeSelector")
    for key in (*same, "tolerations", "affinity"):
        assert pod[key] == EXTRA[key], key
    metadata = shard_of(objects)["spec"]["template"]["metadata"]
    assert metadata["annotations"] == EXTRA["podAnnotations"]
    assert EXTRA["podLabels"].items() <= metadata["labels"].items()


def test_the_migration_trusts_the_same_ca_and_receives_no_secret_of_the_shards() -> None:
    objects = rendered(REQUIRED, EXTRA, {"migrate": {"extraEnv": [{"name": "A", "value": "b"}]}})
    (job,) = kinds(objects, "Job")
    pod = job["spec"]["template"]["spec"]
    assert EXTRA["extraVolumes"][0] in pod["volumes"]
    assert EXTRA["extraVolumeMounts"][0] in pod["containers"][0]["volumeMounts"]
    assert {"name": "A", "value": "b"} in pod["containers"][0]["env"]
    assert "envFrom" not in pod["containers"][0]
    assert len(pod["containers"]) == 1


def test_services_and_routes_have_annotations_and_labels() -> None:
    given = {
        "service": {
            "annotations": {"a": "1"},
            "shardAnnotations": {"a": "2", "b": "3"},
            "labels": {"c": "4"},
            "appProtocol": "",
        },
        "routing": {"annotations": {"d": "5"}, "labels": {"e": "6"}},
    }
    objects = rendered(REQUIRED, given)
    services = {one["metadata"]["name"]: one for one in kinds(objects, "Service")}
    assert services["tickwire"]["metadata"]["annotations"] == {"a": "1"}
    assert services["tickwire-a-3"]["metadata"]["annotations"] == {"a": "2", "b": "3"}
    assert services["tickwire-a-3"]["metadata"]["labels"]["c"] == "4"
    assert "annotations" not in services["tickwire-a"]["metadata"]
    assert all("appProtocol" not in port for one in services.values() for port in one["spec"]["ports"])
    ingress = merged(given, {"routing": {"api": "ingress", "ingress": {"annotations": {"f": "7"}}}})
    routes = kinds(objects, "HTTPRoute") + kinds(rendered(REQUIRED, ingress), "Ingress")
    assert len(routes) == 3
    for route in routes:
        assert route["metadata"]["labels"]["e"] == "6"
        assert route["metadata"]["annotations"]["d"] == "5"
    assert routes[-1]["metadata"]["annotations"]["f"] == "7"


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "tickwire:0.1.0"),
        ({"image": {"registry": "registry.example/team"}}, "registry.example/team/tickwire:0.1.0"),
        ({"image": {"registry": "a.example"}, "global": {"imageRegistry": "b.example"}}, "b.example/tickwire:0.1.0"),
        ({"image": {"tag": "2", "digest": f"sha256:{'a' * 64}"}}, f"tickwire@sha256:{'a' * 64}"),
    ],
)
def test_image_may_use_another_registry(values: Object, image: str) -> None:
    assert pod_of(rendered(REQUIRED, values))["containers"][0]["image"] == image


def test_pull_secrets_of_all_charts_are_used_too() -> None:
    given = {"image": {"pullSecrets": ["one"]}, "global": {"imagePullSecrets": ["one", "two", {"name": "three"}]}}
    pulled = [{"name": "one"}, {"name": "two"}, {"name": "three"}]
    objects = rendered(REQUIRED, given, {"loadtest": {"enabled": True}})
    assert pod_of(objects)["imagePullSecrets"] == pulled
    assert all(job["spec"]["template"]["spec"]["imagePullSecrets"] == pulled for job in kinds(objects, "Job"))


def test_names_can_be_overridden() -> None:
    objects = rendered(REQUIRED, {"nameOverride": "game"}, name="live")
    shard = shard_of(objects)
    assert shard["metadata"]["name"] == "live-game-a"
    assert shard["metadata"]["labels"]["app.kubernetes.io/name"] == "game"
    assert shard["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == "game"
    assert shard_of(rendered(REQUIRED, {"fullnameOverride": "arena"}, name="live"))["metadata"]["name"] == "arena-a"


def test_a_cluster_may_choose_the_user_ids_of_pods() -> None:
    """OpenShift assigns each namespace a range of users."""
    free = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    context = pod_of(rendered(REQUIRED, free))["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_more_objects_are_rendered_and_may_be_templates() -> None:
    given = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-more"},
            "data": {"n": "1"},
        },
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ include \"tickwire.name\" . }}-text'}",
    ]
    names = {one["metadata"]["name"] for one in kinds(rendered(REQUIRED, {"extraObjects": given}), "ConfigMap")}
    assert {"tickwire-more", "tickwire-text"} <= names


def test_more_egress_can_be_allowed_and_the_releases_own_pods_always_reach_players_port() -> None:
    collector = {"ports": [{"port": 4318}]}
    given = {"networkPolicy": {"extraEgress": [collector], "playersFrom": [{"podSelector": {}}]}}
    objects = rendered(REQUIRED, given, {"loadtest": {"enabled": True}})
    (policy,) = kinds(objects, "NetworkPolicy")
    assert collector in policy["spec"]["egress"]
    own = policy["spec"]["ingress"][0]["from"][-1]["podSelector"]["matchLabels"]
    (job,) = [one for one in kinds(objects, "Job") if "loadtest" in one["metadata"]["name"]]
    assert own.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_labels_of_an_object_replace_common_labels_of_the_same_name() -> None:
    own, common = {"team": "players", "grafana_dashboard": "2"}, {"team": "games", "grafana_dashboard": "3"}
    monitored = {"enabled": True, "labels": own}
    given = {
        "commonLabels": common,
        "service": {"labels": own},
        "routing": {"labels": own, "api": "ingress"},
        "monitoring": {"serviceMonitor": monitored, "rules": monitored, "dashboard": monitored},
    }
    objects = rendered(REQUIRED, given) + rendered(REQUIRED, given, {"routing": {"api": "gateway"}})
    labelled = [
        one for kind in ("Ingress", "HTTPRoute", "ServiceMonitor", "PrometheusRule") for one in kinds(objects, kind)
    ]
    labelled += [one for one in kinds(objects, "Service") if "tickwire/headless" not in one["metadata"]["labels"]]
    labelled += [one for one in kinds(objects, "ConfigMap") if one["metadata"]["name"] == "tickwire-dashboard"]
    assert {one["kind"] for one in labelled} >= {"Ingress", "HTTPRoute", "ServiceMonitor", "Service", "ConfigMap"}
    for one in labelled:
        assert own.items() <= one["metadata"]["labels"].items(), one["metadata"]["name"]
    (account, *_) = kinds(objects, "ServiceAccount")
    assert common.items() <= account["metadata"]["labels"].items()
