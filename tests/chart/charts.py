"""Renders the chart with Helm's own engine, for the tests of the chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="pip install helm-python-sdk")

CHART = Path(__file__).parents[2] / "helm" / "tickwire"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
Object = dict[str, Any]
REQUIRED: Object = {
    "host": "play.example.test",
    "routing": {"gateway": {"parentRefs": [{"name": "public"}]}},
    "redis": {"url": "redis://redis:6379/0"},
    "mongo": {"url": "mongodb://mongo:27017/?replicaSet=rs0"},
    "tickets": {"existingSecret": "tickwire-tickets"},
    "auth": {"guests": True},
}
"""The least that an installation must set."""


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping with two entries of one key, of which PyYAML would return the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is used twice", node.start_mark)
        return found


def merged(*values: Object) -> Object:
    """Merge values as Helm merges several -f."""
    found: Object = {}
    for one in values:
        for key, value in one.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found


def rendered_files(*values: Object, name: str = "tickwire", chart: Path = CHART, revision: int = 1) -> dict[str, str]:
    """Return the text of each file that Helm renders, after it has validated the values."""
    with helm.Chart.load(str(chart)) as loaded:
        given = merged(*values)
        loaded.validate_schema(given)
        files: dict[str, str] = loaded.render(given, name=name, namespace="game", revision=revision)
    return files


def rendered(*values: Object, name: str = "tickwire", chart: Path = CHART) -> list[Object]:
    """Return the objects that Helm renders, those of hooks and tests too."""
    files = rendered_files(*values, name=name, chart=chart)
    texts = [text for file, text in files.items() if file.endswith(".yaml")]
    return [one for text in texts for one in yaml.load_all(text, UniqueKeyLoader) if isinstance(one, dict)]


def values_of(file: Path) -> Object:
    """Return the values of an example; some examples add to a release that exists."""
    found: Object = yaml.safe_load(file.read_text())
    return merged(REQUIRED, found) if file.stem == "loadtest" else found


def kinds(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of a kind."""
    return [one for one in objects if one["kind"] == kind]


def pods(objects: list[Object]) -> Iterator[Object]:
    """Yield the pod specification of each StatefulSet, Deployment, Job and Pod."""
    for one in objects:
        if one["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            yield one["spec"]


def shard_of(objects: list[Object], group: str = "a") -> Object:
    """Return the StatefulSet of a group."""
    (found,) = [one for one in kinds(objects, "StatefulSet") if one["metadata"]["labels"]["tickwire/group"] == group]
    return found


def settings_of(objects: list[Object]) -> str:
    """Return the text of the shards' settings file."""
    (found,) = [one for one in kinds(objects, "ConfigMap") if "tickwire.toml" in one["data"]]
    return str(found["data"]["tickwire.toml"])


def environment_of(pod: Object) -> dict[str, Object]:
    """Return the environment of a pod's first container, by name."""
    return {one["name"]: one for one in pod["containers"][0]["env"]}
