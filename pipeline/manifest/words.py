"""Why a value does not obey the schema, in sentences that say what to write instead.

A schema and a value come in, `Complaint`s go out. jsonschema finds what is wrong, and is imported only when something
is.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.errors import Severity
from pipeline.manifest.accept import anchored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

    from pipeline.manifest.model import Pointer

SHOWN_MAX: Final = 60
NOUNS: Final = {
    "null": "empty",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}
TRUTH: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Complaint(NamedTuple):
    """Something that is wrong with the value at a pointer."""

    pointer: Pointer
    message: str
    on_key: bool = False
    """Whether the key is what is wrong, rather than its value."""
    severity: Severity = Severity.ERROR


class Vocabulary(NamedTuple):
    """Which keys exist, by where they belong; for keys that stand in the wrong place."""

    top: frozenset[str]
    entry: frozenset[str]
    parameters: frozenset[str]
    limits: frozenset[str]


def shown(text: str) -> str:
    """Return a user's text fit for a terminal: one line, not too long, nothing that moves the cursor or turns it."""
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant, if any comes near."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower().replace("-", "_").replace(" ", "_")
    by_snake = {name.lower().replace("-", "_"): name for name in sorted(known)}
    found = difflib.get_close_matches(snake, by_snake, n=1, cutoff=0.6)
    return by_snake[found[0]] if found else None


def complaints(
    schema: Mapping[str, Any], value: Any, at: Pointer, words: Vocabulary, written: Callable[[Pointer], str | None]
) -> Iterator[Complaint]:
    """Yield everything in which the value at a pointer does not obey `schema`, which has no references.

    `written` gives the unquoted text that was read as other than text at a pointer. All pointers begin at the top.
    """
    told: set[Complaint] = set()
    for error in validator(schema).iter_errors(value):
        for complaint in sentences(error, at, words, written):
            if complaint not in told:  # jsonschema tells some things once for each key that they concern
                told.add(complaint)
                yield complaint


def validator(schema: Mapping[str, Any]) -> Validator:
    """Return jsonschema's validator with the meanings that `accept` gives to `integer`, `pattern` and `$`."""
    return validator_class()(schema)


@lru_cache(maxsize=1)
def validator_class() -> Callable[[Mapping[str, Any]], Validator]:
    """Return the validator's class, made once: importing jsonschema costs more than reading most manifests."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend
    from referencing import Registry

    def pattern(_validator: Any, wanted: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and anchored(wanted).search(instance) is None:
            yield ValidationError(f"does not match {wanted}")

    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _checker, value: type(value) is int)
    made = extend(Draft202012Validator, {"pattern": pattern}, type_checker=whole)  # type: ignore[no-untyped-call]
    return lambda schema: made(schema, registry=Registry())  # an empty registry fetches nothing, ever


def sentences(
    error: Any, at: Pointer, words: Vocabulary, written: Callable[[Pointer], str | None]
) -> Iterator[Complaint]:
    """Yield what one of jsonschema's `ValidationError`s means."""
    pointer: Pointer = (*at, *error.absolute_path)
    value, wanted, schema, label = error.instance, error.validator_value, error.schema, label_of(pointer)
    if "propertyNames" in error.absolute_schema_path:
        told = schema.get("patternErrorMessage", "is not allowed here")
        yield Complaint((*pointer, value), f"The key `{shown(value)}` {told}.", on_key=True)
        return
    match error.validator:
        case "additionalProperties":
            for key in strangers(value, schema):
                told = unknown_key(pointer, key, schema.get("properties", {}), words)
                yield Complaint((*pointer, key), told, on_key=True)
        case "required":
            for key in wanted:
                if key not in value:
                    yield Complaint(pointer, missing_key(pointer, key))
        case "type":
            yield Complaint(pointer, wrong_type(pointer, value, wanted, written(pointer)))
        case "const":
            yield Complaint(pointer, f"{label} must be {wanted}, not {kind_of(value, written(pointer))}.")
        case "pattern":
            yield Complaint(pointer, wrong_pattern(label, value, schema))
        case "minLength" | "minItems" | "minProperties":
            yield Complaint(pointer, empty(pointer))
        case "maxProperties":
            yield Complaint(pointer, f"{label} takes either `usd_per_second` or `usd_per_clip`, not both.")
        case "minimum":
            yield Complaint(pointer, f"{label} must be at least {wanted}, not {shown(str(value))}.")
        case "maximum":
            yield Complaint(pointer, f"{label} must be at most {wanted}, not {shown(str(value))}.")
        case "exclusiveMinimum":
            yield Complaint(pointer, f"{label} must be more than {wanted}, not {shown(str(value))}.")
        case _:
            yield Complaint(pointer, f"{label} is not allowed here: {shown(error.message)}.")


def label_of(pointer: Pointer) -> str:
    """Return what to call the node at a pointer at the beginning of a sentence."""
    if not pointer:
        return "This"
    last = pointer[-1]
    if isinstance(last, str):
        return f"`{shown(last)}`"
    owner = next((step for step in reversed(pointer) if isinstance(step, str)), "clips")
    return "An entry of `clips`" if owner == "clips" else f"A value of `{shown(owner)}`"


def kind_of(value: Any, written: str | None) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "empty"
    if isinstance(value, (bool, int, float)):
        return shown(written if written is not None else str(value).lower())
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"


def wrong_type(pointer: Pointer, value: Any, wanted: str | list[str], written: str | None) -> str:
    """Say which kind of value is wanted, which one is there, and how to write what was probably meant."""
    types = [name for name in ([wanted] if isinstance(wanted, str) else wanted) if name != "null"]
    noun = " or ".join(NOUNS[name] for name in types)
    last = pointer[-1] if pointer else ""
    if isinstance(last, str) and last.endswith("_seconds"):
        noun += " of seconds"
    elif isinstance(last, str) and "usd" in last.split("_"):
        noun += " of US dollars"
    if value is None:
        advice = f" If `{shown(written)}` is meant as text, quote it." if written else ""
        return f"{label_of(pointer)} has no value. It must be {noun}.{advice}"
    meant = what_was_meant(last, value, types, written)
    advice = f"; {meant}" if meant else ""
    return f"{label_of(pointer)} must be {noun}, not {kind_of(value, written)}{advice}."


def what_was_meant(key: str | int, value: Any, types: list[str], written: str | None) -> str | None:
    """Return how to write a value of the wrong type in the right one, where that can be told."""
    if types[0] in {"integer", "number"}:
        number = re.match(r"\s*(\d+)(\.0*)?(?![\d.])", str(value))
        return f"write {int(number[1][:12])}" if number and not isinstance(value, (bool, list, dict)) else None
    if types[0] == "boolean" and isinstance(value, str):
        truth = TRUTH.get(value.lower())
        return f"write {truth}" if truth else None
    if types[0] == "string" and isinstance(value, (bool, int, float)):
        text = shown(written if written is not None else str(value))
        return f"write {text}p" if key == "resolution" else f'quote it: "{text}"'
    if types[0] == "array" and isinstance(value, (str, bool, int, float)):
        return f"write it as one: [{shown(str(value))}]"
    if types[0] == "array" and key == "clips":
        return "begin each entry with `- id:`"
    return None


def wrong_pattern(label: str, value: str, schema: Mapping[str, Any]) -> str:
    """Say what a text must be like, and the nearest one that is."""
    told = schema.get("patternErrorMessage", f"must match {schema['pattern']}")
    slug = re.sub(r"__+", "_", re.sub(r"[^A-Za-z0-9_-]+", "-", value)).strip("-_")[:100]
    fits = anchored(schema["pattern"]).search
    near = next((near for near in (slug, slug.lower()) if near and near != value and fits(near)), None)
    found = f"; `{shown(value)}` does not fit" if value.strip() else ""
    return f"{label} {told}{found}" + (f", `{near}` would." if near else ".")


def empty(pointer: Pointer) -> str:
    """Say that something must not be empty, and what to put there."""
    label = label_of(pointer)
    if pointer == ("clips",):
        return "`clips` is empty. Add an entry: `- id: first` with a `prompt`."
    if pointer[-1:] == ("usd_per_second",):
        return "`usd_per_second` is an empty table. Give it a resolution: `{720p: 0.40}`, or one number for all."
    if len(pointer) == 2 and pointer[0] == "prices":
        return f"The price of {label} is missing. Give `usd_per_second` or `usd_per_clip`."
    return f"{label} is empty. Give it a value, or remove it."


def missing_key(pointer: Pointer, key: str) -> str:
    """Say that a key is missing, with an example."""
    example = {
        "version": "version: 1",
        "name": "name: coral-reefs",
        "clips": "clips:",
        "id": "id: turtle",
    }.get(key, f"{key}: ...")
    owner = "This entry" if key == "id" else label_of(pointer) if pointer else "The manifest"
    return f"{owner} has no `{key}`. Add a line such as `{example}`."


def strangers(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return the keys that a schema with `additionalProperties: false` does not know."""
    patterns = [anchored(text) for text in schema.get("patternProperties", {})]
    known = schema.get("properties", {})
    return [key for key in value if key not in known and not any(pattern.search(key) for pattern in patterns)]


def unknown_key(pointer: Pointer, key: str, known: Iterable[str], words: Vocabulary) -> str:
    """Say that a key is unknown, and which was meant or where it belongs."""
    told = f"Unknown key `{shown(key)}`"
    if key.startswith("x-"):
        return f"{told}: keys of your own that begin with `x-` stand at the top only. Notes go under `metadata`."
    entry = len(pointer) == 2 and pointer[0] == "clips"
    elsewhere = (
        (words.parameters, "belongs under `parameters`", entry or not pointer),
        (words.limits, "belongs under `limits` at the top", True),
        (words.entry, "belongs to an entry of `clips`", not pointer),
        (words.entry, "belongs to the entry itself, one level up", len(pointer) == 3),
        (words.top, "belongs at the top of the manifest", bool(pointer)),
    )
    for names, advice, applies in elsewhere:
        if applies and key in names and key not in known:
            return f"{told}: it {advice}."
    meant = nearest(key, known)
    if meant:
        return f"{told}: did you mean `{meant}`?"
    if pointer and pointer[-1] == "parameters":
        return f"{told}: it is not a neutral parameter. A provider's own field goes under the clip's `options`."
    if entry or not pointer:
        away = nearest(key, words.parameters)
        if away:
            return f"{told}: did you mean `{away}`, under `parameters`?"
    return f"{told}. Known here: {', '.join(f'`{name}`' for name in known)}."
