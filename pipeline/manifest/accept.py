"""A schema as a function that says yes or no, in a microsecond where a full validator takes fifty.

A manifest may have a hundred thousand entries, and nearly all are right: this finds those. What it turns down goes to
`words`, where jsonschema says why. Only the keywords that the manifest's schema uses are known; any other is refused
when the function is made, so that the schema cannot grow a rule that is not held here. A test holds the two verdicts
equal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import ClipmillError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any], bool]

PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}
ALL_TYPES: Final = tuple(PYTHON_TYPES)
ANNOTATIONS: Final = {"$schema", "$id", "description", "examples", "default", "patternErrorMessage"}


def anchored(pattern: str) -> re.Pattern[str]:
    """Compile a schema's pattern; `$` means the very end, as in ECMAScript, and not before a last newline."""
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


def acceptor(schema: Mapping[str, Any]) -> Check:
    """Return a function that tells whether a value of JSON's types obeys a schema without references.

    A whole number is an `int`: unlike in JSON Schema, 8.0 is none, because it would not be written as one.

    Raises:
        ClipmillError: the schema uses a keyword that is not known here.
    """
    unknown = schema.keys() - ANNOTATIONS - KEYWORDS
    if unknown:
        raise ClipmillError(f"The manifest's schema uses keywords that the validator does not know: {sorted(unknown)}.")
    names = schema.get("type", ALL_TYPES)
    allowed = [kind for name in ([names] if isinstance(names, str) else names) for kind in PYTHON_TYPES[name]]
    checks = {kind: tuple(checks_for(kind, schema)) for kind in allowed}

    def accepts(value: Any) -> bool:
        applicable = checks.get(type(value))
        if applicable is None:
            return False
        for check in applicable:  # noqa: SIM110  # `all` with a generator doubles the time
            if not check(value):
                return False
        return True

    return accepts


def checks_for(kind: type, schema: Mapping[str, Any]) -> list[Check]:
    """Return what a value of one Python type must pass, by the schema's keywords for it."""
    checks: list[Check] = []
    if "const" in schema:
        wanted = schema["const"]
        checks.append(lambda value: type(value) is type(wanted) and value == wanted)
    for keyword, make in BY_TYPE.get(kind, {}).items():
        if keyword in schema:
            checks.append(make(schema[keyword]))
    if kind is dict and schema.keys() & {"properties", "patternProperties", "additionalProperties"}:
        checks.append(properties(schema))
    return checks


def properties(schema: Mapping[str, Any]) -> Check:
    """Return the check of a mapping's values by their keys."""
    known = {name: acceptor(value) for name, value in schema.get("properties", {}).items()}
    by_pattern = [(anchored(text), acceptor(value)) for text, value in schema.get("patternProperties", {}).items()]
    rest = schema.get("additionalProperties", True)
    other = acceptor(rest) if isinstance(rest, dict) else (lambda _value, verdict=rest: verdict)

    def check(value: dict[str, Any]) -> bool:
        for key, child in value.items():
            accepts = known.get(key)
            if accepts is None:
                accepts = next((found for pattern, found in by_pattern if pattern.search(key)), other)
            if not accepts(child):
                return False
        return True

    return check


def matches(pattern: str) -> Check:
    """Return the check of text by a pattern."""
    search = anchored(pattern).search
    return lambda value: search(value) is not None


def each(schema: Mapping[str, Any]) -> Check:
    """Return the check of every element, or every key, by a schema."""
    accepts = acceptor(schema)
    return lambda value: all(map(accepts, value))


NUMBERS: Final[Mapping[str, Callable[[Any], Check]]] = {
    "minimum": lambda bound: lambda value: value >= bound,
    "maximum": lambda bound: lambda value: value <= bound,
    "exclusiveMinimum": lambda bound: lambda value: value > bound,
}
BY_TYPE: Final[Mapping[type, Mapping[str, Callable[[Any], Check]]]] = {
    int: NUMBERS,
    float: NUMBERS,
    str: {"minLength": lambda least: lambda value: len(value) >= least, "pattern": matches},
    list: {"minItems": lambda least: lambda value: len(value) >= least, "items": each},
    dict: {
        "required": lambda names: lambda value: all(name in value for name in names),
        "minProperties": lambda least: lambda value: len(value) >= least,
        "maxProperties": lambda most: lambda value: len(value) <= most,
        "propertyNames": each,
    },
}
KEYWORDS: Final = {keyword for keywords in BY_TYPE.values() for keyword in keywords} | {
    "type",
    "const",
    "properties",
    "patternProperties",
    "additionalProperties",
}
