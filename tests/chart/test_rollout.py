"""Rollouts, evictions and restarts on Kubernetes: they end a shard that runs rooms only if it is necessary."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.chart.charts import (
    CHART,
    EXAMPLES,
    REQUIRED,
    Object,
    environment_of,
    kinds,
    merged,
    rendered,
    shard_of,
    values_of,
)

PRODUCTION = CHART / "examples" / "production.yaml"
GROUPS = {"groups": [{"name": "blue", "replicas": 2, "tag": "1.1"}, {"name": "green", "replicas": 2}]}


def pod_of(objects: list[Object], group: str = "a") -> Object:
    template: Object = shard_of(objects, group)["spec"]["template"]
    return template


def settings_map(objects: list[Object]) -> Object:
    (found,) = [one for one in kinds(objects, "ConfigMap") if "tickwire.toml" in one["data"]]
    return found


# -- evictions -----------------------------------------------------------------------------------------------


def test_shards_that_are_not_ready_are_not_evicted_all_at_once() -> None:
    (budget,) = kinds(rendered(REQUIRED), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "IfHealthyBudget"


@pytest.mark.parametrize("limit", [0, 2, "50%"])
def test_budget_has_the_limit_of_the_values(limit: int | str) -> None:
    (budget,) = kinds(rendered(REQUIRED, {"podDisruptionBudget": {"maxUnavailable": limit}}), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == limit


def test_readiness_outlasts_a_failover_of_redis_and_leaves_mongodb_out() -> None:
    probe = pod_of(rendered(REQUIRED))["spec"]["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz?exclude=mongo"
    assert probe["periodSeconds"] * probe["failureThreshold"] == 15
    changed = rendered(REQUIRED, {"readiness": {"seconds": 40, "exclude": ["redis", "mongo"]}})
    probe = pod_of(changed)["spec"]["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz?exclude=redis&exclude=mongo"
    assert probe["failureThreshold"] == 40
    plain = pod_of(rendered(REQUIRED, {"readiness": {"exclude": []}}))["spec"]["containers"][0]["readinessProbe"]
    assert plain["httpGet"]["path"] == "/readyz"


def test_liveness_never_asks_a_store() -> None:
    container = pod_of(rendered(REQUIRED))["spec"]["containers"][0]
    for probe in ("livenessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["path"] == "/livez"


# -- updates -------------------------------------------------------------------------------------------------


def test_the_next_shard_is_replaced_once_gateways_know_the_one_before() -> None:
    assert shard_of(rendered(REQUIRED))["spec"]["minReadySeconds"] == 10
    assert shard_of(rendered(REQUIRED, {"minReadySeconds": 45}))["spec"]["minReadySeconds"] == 45
    assert shard_of(rendered(REQUIRED))["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
    canary = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}
    assert shard_of(rendered(REQUIRED, canary))["spec"]["updateStrategy"] == canary["updateStrategy"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_release_of_the_chart_alone_replaces_no_shard(file: Path, tmp_path: Path) -> None:
    newer = tmp_path / "tickwire"
    shutil.copytree(CHART, newer)
    chart = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
    before, after = rendered(values_of(file)), rendered(values_of(file), chart=newer)
    assert "9.9.9" in yaml.safe_dump_all(after)
    for old, new in zip(kinds(before, "StatefulSet"), kinds(after, "StatefulSet"), strict=True):
        assert old["spec"] == new["spec"]


def test_labels_of_all_objects_replace_no_shard() -> None:
    labelled = {"commonLabels": {"team": "games"}, "commonAnnotations": {"owner": "ops"}}
    before, after = rendered(REQUIRED), rendered(REQUIRED, labelled)
    assert shard_of(before)["spec"] == shard_of(after)["spec"]
    for one in after:
        assert one["metadata"]["labels"]["team"] == "games", one["kind"]
        assert one["metadata"]["annotations"]["owner"] == "ops", one["kind"]


def test_kubernetes_versions_without_a_sleep_before_the_stop_are_refused() -> None:
    """The server refuses `preStop.sleep` up to 1.29, where the feature is off by default."""
    container = pod_of(rendered(REQUIRED))["spec"]["containers"][0]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 3}}
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == ">=1.30.0-0"


# -- settings ------------------------------------------------------------------------------------------------


def test_changed_settings_are_another_map_and_a_pod_keeps_its_own() -> None:
    before = rendered(REQUIRED)
    after = rendered(REQUIRED, {"settings": {"edge": {"connections_max": 5}}})
    names = []
    for objects in (before, after):
        found = settings_map(objects)
        assert found["immutable"] is True
        assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        (volume,) = [one for one in pod_of(objects)["spec"]["volumes"] if one["name"] == "settings"]
        assert volume["configMap"]["name"] == found["metadata"]["name"]
        names.append(found["metadata"]["name"])
    assert names[0] != names[1]
    assert settings_map(rendered(REQUIRED)) == settings_map(before), "a rollback finds the map that it had"


def test_the_load_tests_file_belongs_to_its_job() -> None:
    objects = rendered(values_of(CHART / "examples" / "loadtest.yaml"))
    (file,) = [one for one in kinds(objects, "ConfigMap") if "swarm.toml" in one["data"]]
    (job,) = [one for one in kinds(objects, "Job") if "loadtest" in one["metadata"]["name"]]
    assert file["immutable"] is True
    assert file["metadata"]["name"] == job["metadata"]["name"] == "tickwire-loadtest-1"
    (volume,) = [one for one in job["spec"]["template"]["spec"]["volumes"] if one["name"] == "swarm"]
    assert volume["configMap"]["name"] == file["metadata"]["name"]


# -- builds and names ----------------------------------------------------------------------------------------


def test_a_shard_reports_the_tag_of_its_image_as_its_build() -> None:
    def build_of(objects: list[Object], group: str = "a") -> str:
        return str(environment_of(pod_of(objects, group)["spec"])["TICKWIRE__BUILD"]["value"])

    assert build_of(rendered(REQUIRED)) == yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert build_of(rendered(REQUIRED, {"image": {"tag": "0.1.2"}})) == "0.1.2"
    objects = rendered(REQUIRED, GROUPS, {"image": {"tag": "1.0"}})
    assert (build_of(objects, "blue"), build_of(objects, "green")) == ("1.1", "1.0")
    digest = f"sha256:{'0' * 64}"
    by_digest = rendered(REQUIRED, GROUPS, {"image": {"digest": digest, "tag": "1.0"}})
    images = {group: pod_of(by_digest, group)["spec"]["containers"][0]["image"] for group in ("blue", "green")}
    assert images == {"blue": "tickwire:1.1", "green": f"tickwire@{digest}"}
    assert (build_of(by_digest, "blue"), build_of(by_digest, "green")) == ("1.1", digest)


def test_a_shard_has_the_name_of_its_pod() -> None:
    name = environment_of(pod_of(rendered(REQUIRED))["spec"])["TICKWIRE__SHARD_NAME"]
    assert name["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("name", ["tickwire", f"a-very-long-name-of-a-release{24 * 'x'}"])
def test_names_fit_into_the_labels_that_kubernetes_makes_of_them(name: str) -> None:
    """A StatefulSet of more than 52 characters creates no pods: the label controller-revision-hash has 63 at most."""
    group = "a-long-groups-nm"
    objects = rendered(REQUIRED, {"maxShards": 512, "groups": [{"name": group, "replicas": 1}]}, name=name)
    for one in objects:
        most = 52 if one["kind"] == "StatefulSet" else 63
        assert len(one["metadata"]["name"]) <= most, one["metadata"]["name"]
        for key, value in one["metadata"]["labels"].items():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value), key


# -- the migration -------------------------------------------------------------------------------------------


def migrations(objects: list[Object]) -> dict[str, Object]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in kinds(objects, "Job")
        if one["metadata"]["labels"]["app.kubernetes.io/component"] == "migrate"
    }


def test_the_database_is_migrated_by_each_image_that_runs() -> None:
    jobs = migrations(rendered(REQUIRED, GROUPS, {"image": {"tag": "1.0"}}))
    images = {name: pod["containers"][0]["image"] for name, pod in jobs.items()}
    assert images == {"tickwire-migrate": "tickwire:1.1", "tickwire-migrate-green": "tickwire:1.0"}
    same = merged(GROUPS, {"groups": [{"name": "a", "replicas": 2}, {"name": "b", "replicas": 2}]})
    assert len(migrations(rendered(REQUIRED, same))) == 1
    off = {"groups": [{"name": "a", "replicas": 2, "tag": "2"}, {"name": "b", "replicas": 0, "tag": "1"}]}
    (only,) = migrations(rendered(REQUIRED, off)).values()
    assert only["containers"][0]["image"] == "tickwire:2"


def test_the_migration_runs_where_shards_run() -> None:
    where = {
        "nodeSelector": {"pool": "games"},
        "tolerations": [{"key": "games", "operator": "Exists"}],
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mongo"]}],
        "image": {"pullSecrets": ["registry"]},
    }
    (pod,) = migrations(rendered(REQUIRED, where)).values()
    for key in ("nodeSelector", "tolerations", "hostAliases"):
        assert pod[key] == where[key]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_the_migration_receives_the_database_and_no_other_secret() -> None:
    (pod,) = migrations(rendered(values_of(PRODUCTION))).values()
    assert set(environment_of(pod)) == {"TICKWIRE__MONGO__URL", "TICKWIRE__MONGO__DATABASE"}
    own = {"migrate": {"mongo": {"existingSecret": "owner"}}}
    objects = rendered(values_of(PRODUCTION), own)
    (pod,) = migrations(objects).values()
    secret = environment_of(pod)["TICKWIRE__MONGO__URL"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "owner", "key": "url"}
    shard = environment_of(pod_of(objects, "blue")["spec"])["TICKWIRE__MONGO__URL"]["valueFrom"]["secretKeyRef"]
    assert shard["name"] == "tickwire-stores"
