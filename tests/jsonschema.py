"""As much of JSON Schema (2020-12) as our own schemas use: type, enum, const, minimum, properties, required."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
}
_KNOWN = frozenset({"type", "enum", "const", "minimum", "description", "$schema", "title", "$id"})
_OF_OBJECTS = frozenset({"properties", "required", "additionalProperties"})


def against(schema: Mapping[str, Any], value: Any, path: str = "") -> list[str]:
    """Where a value does not keep to a schema, as dotted paths, in the schema's order; additional keys come last."""
    unknown = set(schema) - _KNOWN - _OF_OBJECTS
    assert not unknown, f"this checker does not know {unknown}"
    kinds = schema.get("type", [*_TYPES])
    fits = any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    fits = fits and value in schema.get("enum", [value]) and value == schema.get("const", value)
    if not fits or (isinstance(value, int | float) and value < schema.get("minimum", value)):
        return [path]
    if not isinstance(value, dict):
        return []
    properties, wrong = schema.get("properties", {}), []
    for name, inner in properties.items():
        at = f"{path}.{name}" if path else name
        if name in value:
            wrong += against(inner, value[name], at)
        elif name in schema.get("required", ()):
            wrong.append(at)
    if schema.get("additionalProperties") is False:
        wrong += [name for name in value if name not in properties]
    return wrong


def _is(value: Any, kind: str) -> bool:
    return kind == "boolean" if isinstance(value, bool) else isinstance(value, _TYPES[kind])
