"""The schema of the chart's value `settings`, from the structs that declare a shard's settings.

`make chart-schema` writes it into helm/tickwire/values.schema.json; a test holds the two together. Settings that the
chart sets itself are listed in files/owned-settings.yaml. The schema lets them pass, because a template refuses them
with the value to use instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import yaml

from tickwire.server.config import Settings
from tickwire.server.setting_types import base_type, bounds, describe

CHART = Path(__file__).parent / "tickwire"
VALUES_SCHEMA = CHART / "values.schema.json"
OWNED: Mapping[str, str] = yaml.safe_load((CHART / "files" / "owned-settings.yaml").read_text())
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}
Schema = dict[str, Any]


def settings_schema() -> Schema:
    """Return the schema of the settings that an operator may set."""
    return _section(Settings, "")


def values_schema() -> Schema:
    """Return the schema of the chart's values, with the settings as they are declared now."""
    schema: Schema = json.loads(VALUES_SCHEMA.read_text())
    schema["properties"]["settings"] = settings_schema()
    return schema


def text_of(schema: Schema) -> str:
    """Return a schema as the file has it."""
    return json.dumps(schema, indent=2) + "\n"


def _section(section: type[msgspec.Struct], where: str) -> Schema:
    kinds = get_type_hints(section, include_extras=True)
    properties: Schema = {}
    for name in section.__struct_fields__:
        kind, key = kinds[name], f"{where}{name}"
        if key in OWNED:
            properties[name] = {"description": f"Set by the chart: {OWNED[key]}."}
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            properties[name] = _section(kind, f"{key}.")
        else:
            properties[name] = {"description": f"Must be {describe(kind)}.", **_value(kind)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(kind: Any) -> Schema:
    base = base_type(kind)
    if get_origin(base) is list:
        limits = {name.replace("Length", "Items"): value for name, value in _limits(kind)}
        return {"type": "array", "items": _value(get_args(base)[0]), **limits}
    if get_origin(base) is dict:
        limits = {name.replace("Length", "Properties"): value for name, value in _limits(kind)}
        return {"type": "object", "additionalProperties": _value(get_args(base)[1]), **limits}
    if get_origin(base) is Literal:
        return {"enum": list(get_args(base))}
    return {"type": _TYPES[base], **dict(_limits(kind))}


def _limits(kind: Any) -> Iterator[tuple[str, Any]]:
    meta = bounds(kind)
    for limit, name in _LIMITS.items():
        value = getattr(meta, limit)
        if value is not None:
            yield name, value
    if meta.pattern is not None:
        # JSON Schema knows neither \A nor \Z; Helm's ^ and $ are the ends of the whole text.
        yield "pattern", meta.pattern.replace(r"\A", "^").replace(r"\Z", "$")


if __name__ == "__main__":
    VALUES_SCHEMA.write_text(text_of(values_schema()))
