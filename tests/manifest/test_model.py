from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.manifest.model import Place, Places
from pipeline.manifest.validate import load_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.manifest.model import Manifest, Pointer

TEXT = """\
version: 1
name: reef
provider: modelmax
model: veo-3
x-shared: &shared {resolution: 720p}
clips:
  - id: turtle
    prompt: >
      A turtle
    parameters:
      duration_seconds: 8
      reference_images: [a.png,
        b.png]
  - {id: e-wave, prompt: x, parameters: *shared}
limits:
    in_flight: 3
"""

PLACES: dict[Pointer, tuple[tuple[int, int], tuple[int, int]]] = {
    (): ((1, 1), (1, 1)),
    ("version",): ((1, 10), (1, 1)),
    ("clips",): ((7, 3), (6, 1)),
    ("clips", 0): ((7, 5), (7, 5)),
    ("clips", 0, "id"): ((7, 9), (7, 5)),
    ("clips", 0, "prompt"): ((8, 13), (8, 5)),
    ("clips", 0, "parameters", "duration_seconds"): ((11, 25), (11, 7)),
    ("clips", 0, "parameters", "reference_images", 1): ((13, 9), (13, 9)),
    ("clips", 1): ((14, 5), (14, 5)),
    ("clips", 1, "id"): ((14, 10), (14, 6)),
    ("clips", 1, "parameters"): ((14, 41), (14, 29)),
    ("limits", "in_flight"): ((16, 16), (16, 5)),
}
NEAREST: dict[Pointer, Pointer] = {
    ("clips", 1, "parameters", "resolution"): ("clips", 1, "parameters"),
    ("clips", 0, "parameters", "aspect_ratio"): ("clips", 0, "parameters"),
    ("clips", 0, "nothing", "at", "all"): ("clips", 0),
    ("clips", 99, "id"): ("clips",),
    ("limits", "max_cost_usd"): ("limits",),
    ("nothing",): (),
    ("clips", 0, "prompt", 3): ("clips", 0, "prompt"),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "m.yaml").write_text(TEXT)
    return load_manifest(tmp_path / "m.yaml")


@pytest.mark.parametrize("pointer", PLACES)
def test_every_value_and_every_key_has_its_place(manifest: Manifest, pointer: Pointer) -> None:
    assert (manifest.places.at(pointer), manifest.places.at(pointer, key=True)) == PLACES[pointer]


@pytest.mark.parametrize("pointer", NEAREST)
def test_what_has_no_place_has_the_nearest_enclosing_ones(manifest: Manifest, pointer: Pointer) -> None:
    assert manifest.places.at(pointer) == manifest.places.at(NEAREST[pointer])
    assert manifest.places.at(pointer, key=True) == manifest.places.at(NEAREST[pointer])


def test_places_of_a_manifest_that_is_no_yaml_are_the_files_beginning() -> None:
    assert Places().at(("clips", 3, "id"), key=True) == Place(1, 1)


def test_places_are_not_part_of_what_a_manifest_says(tmp_path: Path, manifest: Manifest) -> None:
    assert "array" not in repr(manifest)
    assert load_manifest(tmp_path / "m.yaml") == manifest
