"""The manifest's JSON Schema: where it lies, and as a tree without references.

A wheel carries it as `pipeline/_schemas/manifest.schema.json`; in a checkout, where an editable install does not see
that copy, it lies in the repository's `schemas/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import ClipmillError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "manifest.schema.json"
PACKAGE_FOLDER: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = "#/"


def schema_path(package_folder: Path = PACKAGE_FOLDER) -> Path:
    """Return where the schema lies for a package that is installed in `package_folder`.

    Raises:
        ClipmillError: it is in neither place; the installation is damaged.
    """
    candidates = [package_folder / "_schemas" / NAME, package_folder.parent / "schemas" / NAME]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " nor ".join(map(str, candidates))
    raise ClipmillError(
        f"The manifest's schema is neither {places}. The installation is damaged; install clipmill again."
    )


def schema_text() -> str:
    """Return the schema as it is published, comments for editors included."""
    return schema_path().read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """Return the schema as a tree."""
    tree: dict[str, Any] = json.loads(schema_text())
    return tree


def without_references(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with every `$ref` replaced by what it refers to.

    The schema does not refer to itself, so this ends; and a validator that follows no reference can fetch none.
    """

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            return inline(follow(node["$ref"]))
        return {key: inline(value) for key, value in node.items() if key != "$defs"}

    def follow(reference: str) -> Any:
        target: Any = tree
        for step in reference.removeprefix(REFERENCE).split("/"):
            target = target[step]
        return target

    inlined: dict[str, Any] = inline(tree)
    return inlined
