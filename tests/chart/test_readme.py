"""The chart's README: each recipe renders, and each value that it names exists."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.chart.charts import CHART, REQUIRED, Object, kinds, rendered

README = (CHART / "README.md").read_text()
RECIPES: dict[str, Object] = {
    section.partition("\n")[0].strip(): yaml.safe_load(block)
    for section in re.split(r"^#{2,3} ", README, flags=re.MULTILINE)
    for block in re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
}
GKE = ("GCPBackendPolicy", "HealthCheckPolicy")


def test_there_is_a_recipe_for_each_common_gateway() -> None:
    assert {name.split()[0] for name in RECIPES} == {"Installation", "ALB", "GKE", "Istio", "NGINX", "Traefik"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_valid_for_kubernetes(name: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    objects = rendered(RECIPES["Installation"], RECIPES[name])
    for one in objects:
        if one["kind"] not in ("HTTPRoute", *GKE):
            kubernetes_validate.validate(one, "1.36", strict=True)
    if "ingress" in RECIPES[name].get("routing", {}):
        (ingress,) = kinds(objects, "Ingress")
        assert (
            RECIPES[name]["routing"]["ingress"]["annotations"].items() <= ingress["metadata"]["annotations"].items()
        )


def test_on_gke_each_service_of_players_has_its_policies() -> None:
    objects = rendered(REQUIRED, RECIPES["GKE Gateway"])
    services = {
        one["metadata"]["name"] for one in kinds(objects, "Service") if one["spec"].get("clusterIP") != "None"
    }
    assert len(services) == 9
    for kind in GKE:
        assert {one["spec"]["targetRef"]["name"] for one in kinds(objects, kind)} == services


def test_each_value_that_the_readme_names_exists() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r"`([a-z][A-Za-z]+(?:\.[a-z][A-Za-z]+)+)`", README):
        found: object = values
        for part in name.split("."):
            if name.partition(".")[0] not in values:
                break
            assert isinstance(found, dict), name
            assert part in found, name
            found = found[part]
