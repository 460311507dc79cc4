"""The floor plan as a law: which room may import which, and what no room may be called.

The whole list is LAYERS. It is held against the syntax trees, imports for type checking included: a type that is
needed upstairs is a dependency upstairs, whether or not it is loaded.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pipeline"

LAYERS = (  # each line may import only from the lines below it
    {"__main__"},
    {"cli"},
    {"scale"},
    {"runner", "dataset", "report"},
    {"ledger"},
    {"jobs"},
    {"planning"},
    {"manifest"},
    {"storage"},
    {"providers", "clips"},
    {"durable", "names", "pages", "paths", "together"},
    {"system"},
    {"errors", "effects"},
)
BESIDE = {"sandbox": {"errors", "effects", "durable"}}
"""A room that stands beside the others: what it may reach. Only the cli may reach it."""
CLI_LAYERS = (  # the same within the front door, which is the largest room
    {"main"},
    {"commands"},
    {"mending"},
    {"running", "standing"},
    {"secrecy"},
    {"options", "keys", "wording"},
)
NOT_YET: set[str] = set()
"""Rooms with a place on the plan that nobody has built."""
MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "lib", "core", "base_utils"}
VERSION_HOLDER = "__init__"
"""`pipeline/__init__.py` holds the version and nothing else; every room may read it."""

DEPTH = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}
CLI_DEPTH = {room: depth for depth, rooms in enumerate(CLI_LAYERS) for room in rooms}


@dataclass(frozen=True)
class Import:
    """One import of something of ours."""

    module: str
    line: int
    imported: str

    @property
    def rooms(self) -> tuple[str, str]:
        return room_of(self.module), room_of(self.imported)


def room_of(module: str) -> str:
    """Return the room of a dotted name: `pipeline.jobs.state` is in `jobs`."""
    steps = module.split(".")
    return steps[1] if len(steps) > 1 else VERSION_HOLDER


def dotted(path: Path) -> str:
    """Return the module's name: `pipeline.jobs` for its `__init__.py`."""
    steps = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(steps[:-1] if steps[-1] == "__init__" else steps)


def modules() -> dict[str, ast.Module]:
    """Return every module of the package as a syntax tree."""
    return {dotted(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str, tree: ast.AST, names: set[str]) -> list[Import]:
    """Return the imports of our own modules; `names` are all that there are."""
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(module, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute here"
            source = node.module or ""
            inner = [f"{source}.{alias.name}" for alias in node.names]
            found += [Import(module, node.lineno, name if name in names else source) for name in inner]
    return [each for each in found if each.imported.split(".")[0] == "pipeline"]


def all_imports() -> list[Import]:
    trees = modules()
    return [each for module, tree in trees.items() for each in imports_of(module, tree, set(trees))]


def is_lawful(importer: str, imported: str) -> bool:
    """Tell whether one room may import from another."""
    if importer == imported or imported == VERSION_HOLDER:
        return True
    if importer in BESIDE:
        return imported in BESIDE[importer]
    if imported in BESIDE:
        return importer == "cli"
    return DEPTH[importer] < DEPTH[imported]


def test_rooms_import_only_downwards() -> None:
    imports = all_imports()
    assert len(imports) > 100, "the walk found next to nothing; it is the walk that is broken"
    unlawful = [f"{each.module}:{each.line} imports {each.imported}" for each in imports if not is_lawful(*each.rooms)]
    assert not unlawful, "\n".join(unlawful)


def test_the_rooms_of_the_front_door_import_only_downwards() -> None:
    def inner(module: str) -> str:
        return module.split(".")[2]

    within = [each for each in all_imports() if each.rooms == ("cli", "cli") and "cli." in each.module]
    assert len(within) > 50
    unlawful = [
        f"{each.module}:{each.line} imports {each.imported}"
        for each in within
        if inner(each.module) != inner(each.imported)
        and CLI_DEPTH[inner(each.module)] >= CLI_DEPTH[inner(each.imported)]
    ]
    assert not unlawful, "\n".join(unlawful)


def test_every_room_is_on_the_plan_and_every_room_of_the_plan_is_there() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert found - {VERSION_HOLDER} == (DEPTH.keys() | BESIDE.keys()) - NOT_YET


def test_the_package_itself_imports_none_of_its_rooms() -> None:
    upwards = [each for each in all_imports() if each.module == "pipeline"]
    assert upwards == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for each in all_imports():
        if each.imported != each.module:
            graph.setdefault(each.module, set()).add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def test_no_room_and_no_module_has_a_name_without_meaning() -> None:
    named = [str(path) for path in PACKAGE.rglob("*") if path.stem.lower() in MEANINGLESS]
    assert named == []


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()))
def test_a_room_says_what_it_is_for_and_exports_nothing(room: str) -> None:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1, "import from the module that defines a name"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("clips", "ledger"),
        ("clips", "providers"),
        ("providers", "jobs"),
        ("errors", "effects"),
        ("runner", "dataset"),
        ("runner", "sandbox"),
        ("sandbox", "providers"),
        ("sandbox", "paths"),
    ],
)
def test_a_planted_import_is_caught(importer: str, imported: str) -> None:
    tree = ast.parse(f"def later():\n    from pipeline.{imported} import anything\n")
    (planted,) = imports_of(f"pipeline.{importer}.planted", tree, set())
    assert not is_lawful(*planted.rooms)
    assert is_lawful("cli", imported)


def test_a_relative_import_is_caught() -> None:
    with pytest.raises(AssertionError, match="absolute"):
        imports_of("pipeline.clips.planted", ast.parse("from . import mp4"), set())
