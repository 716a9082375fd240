"""The chart, rendered by Helm's own engine, and every object held against Kubernetes's schemas."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.chart.charts import (
    CHART,
    EXAMPLES,
    REQUIRED,
    Object,
    helm,
    kinds,
    pods,
    rendered,
    settings_of,
    values_of,
)
from tickwire.server import config
from tickwire.server.observability.metrics import Metrics

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")

sys.path.insert(0, str(Path(__file__).parents[2] / "helm"))
from dashboard import dashboard  # noqa: E402

VERSIONS = ("1.30", "1.33", "1.36")
"""The oldest and the newest that are supported, and one between."""
CUSTOM = {"HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
"""Kinds that Kubernetes itself does not know."""


def test_the_chart_lints() -> None:
    found = helm.lint(str(CHART), REQUIRED, strict=True)
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_are_valid_for_kubernetes(file: Path, version: str) -> None:
    objects = rendered(values_of(file))
    assert objects
    for one in objects:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_no_two_objects_have_one_name(file: Path) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(values_of(file))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_pod_is_restricted(file: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    for pod in pods(rendered(values_of(file))):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork")
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_no_list_of_a_pod_has_two_entries_with_one_key(file: Path) -> None:
    """Server-side apply, which Helm 4 uses, refuses such lists."""
    for pod in pods(rendered(values_of(file))):
        lists = [(pod["volumes"], "name"), (pod["containers"], "name")]
        for container in pod["containers"]:
            lists += [(container[key], "name") for key in ("env", "ports") if key in container]
            lists += [(container["volumeMounts"], "mountPath")]
        for entries, key in lists:
            values = [one[key] for one in entries]
            assert len(values) == len(set(values)), values


def test_recordings_have_a_volume_that_is_larger_than_their_bound_or_none() -> None:
    for size, is_enabled in ((16, True), (500, True), (500, False)):
        objects = rendered(REQUIRED, {"recordings": {"enabled": is_enabled, "sizeMiB": size}})
        (shard, *_) = pods(kinds(objects, "StatefulSet"))
        volumes = {one["name"]: one for one in shard["volumes"]}
        mounts = {one["name"]: one["mountPath"] for one in shard["containers"][0]["volumeMounts"]}
        settings = tomllib.loads(settings_of(objects)).get("recordings", {})
        assert ("recordings" in volumes) == ("recordings" in mounts) == bool(settings) == is_enabled
        if is_enabled:
            assert Path(settings["directory"]).parent == Path(mounts["recordings"])
            assert settings["directory_bytes_max"] == size * 2**20
            assert int(volumes["recordings"]["emptyDir"]["sizeLimit"].removesuffix("Mi")) > size


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_rendered_settings_are_valid_settings_of_the_server(file: Path, tmp_path: Path) -> None:
    objects = rendered(values_of(file))
    toml = tmp_path / "tickwire.toml"
    toml.write_text(settings_of(objects))
    (container, *_) = next(pods(kinds(objects, "StatefulSet")))["containers"]
    environ = {one["name"]: one.get("value", "redis://x" if "REDIS" in one["name"] else "x" * 40)
               for one in container["env"] if one["name"].startswith("TICKWIRE__")
               if one["name"] != "TICKWIRE__SHARD_NAME"}  # fmt: skip
    environ = {name: text.replace("$(POD_INDEX)", "0") for name, text in environ.items()}
    if environ["TICKWIRE__MONGO__URL"].startswith("x"):
        environ["TICKWIRE__MONGO__URL"] = "mongodb://mongo"
    settings = config.load(toml, environ)
    assert settings.listen.plaintext
    assert settings.listen.url.startswith("wss://")
    assert settings.tickets.current in settings.tickets.keys


def test_an_example_has_its_own_groups_alone() -> None:
    names = {one["metadata"]["name"] for one in kinds(rendered(values_of(EXAMPLES[1])), "StatefulSet")}
    assert EXAMPLES[1].stem == "production"
    assert names == {"tickwire-blue", "tickwire-green"}


def test_secrets_are_references_alone() -> None:
    text = yaml.safe_dump_all(rendered(values_of(CHART / "examples" / "production.yaml")))
    assert "kind: Secret" not in text
    assert text.count("secretKeyRef") >= 3


def test_each_shard_has_a_route_that_knows_it_also_when_it_is_not_ready() -> None:
    objects = rendered(
        REQUIRED, {"maxShards": 40, "groups": [{"name": "a", "replicas": 3}, {"name": "b", "replicas": 0}]}
    )
    routes = kinds(objects, "HTTPRoute")
    assert max(len(route["spec"]["rules"]) for route in routes) <= 16
    paths = {
        rule["matches"][0]["path"]["value"]: rule["backendRefs"][0]["name"]
        for route in routes
        for rule in route["spec"]["rules"]
        if "matches" in rule
    }
    assert paths == {f"/s/{group}/{n}/": f"tickwire-{group}-{n}" for group in "ab" for n in range(40)}
    services = {one["metadata"]["name"]: one["spec"] for one in kinds(objects, "Service")}
    for name in paths.values():
        assert services[name]["publishNotReadyAddresses"] is True
        assert services[name]["selector"]["apps.kubernetes.io/pod-index"] == name.rpartition("-")[2]
    assert "publishNotReadyAddresses" not in services["tickwire"]
    (a, _) = kinds(objects, "StatefulSet")
    env = {one["name"]: one.get("value") for one in a["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["TICKWIRE__LISTEN__URL"] == "wss://play.example.test/s/a/$(POD_INDEX)/"


def test_routes_can_use_hosts_instead_of_paths() -> None:
    objects = rendered(values_of(CHART / "examples" / "region-us.yaml"))
    hosts = {host for route in kinds(objects, "HTTPRoute") for host in route["spec"]["hostnames"]}
    assert hosts == {"us.play.example.test", *(f"a-{n}.us.play.example.test" for n in range(16))}


def test_every_value_is_explained_and_in_the_schema() -> None:
    def keys(values: Object, schema: Object, where: str) -> Iterator[str]:
        for key, value in values.items():
            known = schema.get("properties", {}).get(key)
            assert known is not None, f"{where}{key} is not in values.schema.json"
            yield f"{where}{key}"
            if isinstance(value, dict) and "properties" in known:
                yield from keys(value, known, f"{where}{key}.")

    text = (CHART / "values.yaml").read_text()
    schema = msgspec.json.decode((CHART / "values.schema.json").read_bytes())
    assert len(list(keys(yaml.safe_load(text), schema, ""))) > 60
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            above = lines[number - 1]
            inside = lines[number + 1] if number + 1 < len(lines) else ""
            is_described = above.lstrip().startswith("#") or inside.lstrip().startswith("#")
            is_plain = line.rstrip().endswith(('""', "{}", "[]", ":"))
            assert is_described or is_plain, f"{line!r} has no comment"


# -- the swarm -----------------------------------------------------------------------------------------------


def test_the_swarm_is_off_by_default() -> None:
    assert not any("loadtest" in one["metadata"]["name"] for one in rendered(REQUIRED))


def test_the_swarm_is_a_job_with_a_master_and_workers() -> None:
    objects = rendered(values_of(CHART / "examples" / "loadtest.yaml"))
    (job,) = [one for one in kinds(objects, "Job") if "loadtest" in one["metadata"]["name"]]
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (5, 5, 0)
    pod = job["spec"]["template"]["spec"]
    script = pod["containers"][0]["command"][2]
    assert "--expect-workers 4" in script
    assert f"--master-host {job['metadata']['name']}-0.{pod['subdomain']}" in script
    assert pod["containers"][0]["image"] == "tickwire:0.1.0-loadtest"
    (service,) = [one for one in kinds(objects, "Service") if one["metadata"]["name"] == pod["subdomain"]]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    for one in kinds(objects, "StatefulSet") + kinds(objects, "PodDisruptionBudget"):
        assert not one["spec"]["selector"]["matchLabels"].items() <= labels.items(), "players must not come to it"


def test_options_file_is_readable_by_a_swarm() -> None:
    objects = rendered(values_of(CHART / "examples" / "loadtest.yaml"))
    (found,) = [one["data"]["swarm.toml"] for one in kinds(objects, "ConfigMap") if "swarm.toml" in one["data"]]
    options = tomllib.loads(found)["tool"]["locust"]
    assert options["host"] == "ws://tickwire"
    assert options["users"] == 4000
    assert options["slo"] == ["input_p99=100ms", "late_ticks=0.1%", "lost_sessions=0"]
    assert options["token-secret-file"] == "/run/secrets/swarm/secret"
    assert options["reset-stats"] is True
    source = (CHART.parents[1] / "loadtest" / "options.py").read_text()
    own = {"host", "users", "spawn-rate", "run-time", "reset-stats"}  # locust's
    for name in options.keys() - own:
        assert re.search(rf'option\(\s*"--{name}"', source), name


# -- what is watched -----------------------------------------------------------------------------------------

RULES = CHART / "files" / "rules.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
OPERATIONS = (CHART.parents[1] / "docs" / "operations.md").read_text()


def alerts() -> list[Object]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def metrics_in(expression: str) -> set[str]:
    names = set(re.findall(r"\btickwire_[a-z_]+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def known_metrics() -> set[str]:
    text = Metrics("1").render().decode()
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_alerts_and_panels_ask_for_metrics_that_a_server_has() -> None:
    asked = {name for rule in alerts() for name in metrics_in(rule["expr"])}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked |= {name for panel in panels for one in panel.get("targets", ()) for name in metrics_in(one["expr"])}
    assert len(asked) > 25
    assert asked <= known_metrics()


def test_dashboard_is_generated_from_its_table() -> None:
    assert json.loads(DASHBOARD.read_text()) == dashboard()


def test_every_panel_is_a_question_and_has_a_place_of_its_own() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels) == 40
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in alerts()}))
def test_every_alert_has_instructions(name: str) -> None:
    assert re.search(rf"^### {name}$", OPERATIONS, re.MULTILINE)
    for rule in alerts():
        if rule["alert"] == name:
            assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
            assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus")
@pytest.mark.parametrize("how", [["check", "rules", "--lint-fatal"], ["test", "rules"]], ids=["check", "test"])
def test_alert_rules_are_valid_for_prometheus(how: list[str]) -> None:
    file = RULES if how[0] == "check" else Path(__file__).with_name("rules.test.yaml")
    done = subprocess.run(["promtool", *how, str(file)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
