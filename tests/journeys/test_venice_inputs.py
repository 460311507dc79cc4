"""Every input that Venice takes, from files of the user's, rehearsed from the manifest to the clip."""

from __future__ import annotations

import io
import json
import shutil
import struct
import wave
import zlib
from pathlib import Path

import pytest

import pipeline.sandbox
from tests.cli.front_door import run

CLIP = Path(pipeline.sandbox.__file__).parent / "templates" / "landscape.mp4"
MANIFEST = """version: 1
name: inputs
provider: venice
clips:
  - id: upscaled
    model: topaz-video-upscale
    parameters: {video: clip.mp4, upscale_factor: 2}
  - id: between
    model: pixverse-c1-transition
    prompt: A leaf turns
    parameters: {image: leaf.png, end_image: leaf.png, duration_seconds: 3, aspect_ratio: 16:9, resolution: 360p,
                 generate_audio: false}
  - id: sung
    model: wan-2-7-image-to-video
    prompt: A leaf sings
    parameters: {image: SHARED/other.png, audio: song.wav, duration_seconds: 5, resolution: 720p, negative_prompt: blur}
  - id: colder
    model: wan-2-7-video-to-video
    prompt: In winter
    parameters: {video: clip.mp4, resolution: 720p}
  - id: cast
    model: kling-o3-pro-reference-to-video
    prompt: "@Element1 before @Image1"
    parameters:
      duration_seconds: 3
      aspect_ratio: 16:9
      elements: [{frontal_image: leaf.png, reference_images: [leaf.png]}, leaf.png]
      scene_images: [leaf.png]
      end_image: leaf.png
  - id: edited
    model: seedance-2-0-reference-to-video-basic
    prompt: Strictly edit <Video 1>, changing its weather
    parameters: {reference_videos: [clip.mp4], reference_images: [leaf.png], reference_audios: [song.wav],
                 duration_seconds: 4, resolution: 480p}
    options: {aspect_ratio: adaptive, bitrate_mode: high}
  - id: read
    model: wan-3-0-reference-to-video
    prompt: What the page says
    parameters: {reference_documents: [page.pdf], duration_seconds: 5, aspect_ratio: 16:9, resolution: 480p}
  - id: keyed
    model: flux-3-text-to-video
    prompt: From one leaf to another
    parameters:
      duration_seconds: 5
      keyframes: [{image: leaf.png, frame_index: 0}, {image: leaf.png, frame_index: 120}]
  - id: faced
    model: seedance-2-0-image-to-video
    prompt: A face
    parameters: {image: leaf.png, duration_seconds: 4, resolution: 480p}
    options:
      consents:
        seedance:
          confirmed_terms_and_privacy: true
          confirmed_legal_right: true
          confirmed_screening_acknowledged: true
  - id: unconsented
    model: seedance-2-0-image-to-video
    prompt: Another face
    parameters: {image: leaf.png, duration_seconds: 4, resolution: 480p}
"""


def picture(shade: int) -> bytes:
    """A grey PNG of 400 by 300, which is as small as the strictest model takes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 400, 300, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([shade]) * 400) * 300)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def song(seconds: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000 * seconds)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "other.png").write_bytes(picture(99))
    batch = tmp_path / "batch"
    batch.mkdir()
    shutil.copy(CLIP, batch / "clip.mp4")
    for name, data in {"leaf.png": picture(9), "song.wav": song(4), "page.pdf": b"%PDF-1.7\n%%EOF\n"}.items():
        (batch / name).write_bytes(data)
    (batch / "m.yaml").write_text(MANIFEST.replace("SHARED", str(tmp_path / "shared")))
    return batch


def test_every_kind_of_input_is_made_into_a_clip(folder: Path) -> None:
    refused = run("run", "m.yaml", "--sandbox", cwd=folder)
    assert (refused.code, "m.yaml:16:25: " in refused.err) == (2, True), refused.err
    allowed = ("--allow-inputs", "../shared", "--speed", "1000")
    assert run("run", "m.yaml", "--sandbox", *allowed, "--only", "upscaled", cwd=folder).code == 0
    said = run("resume", "output/inputs-sandbox", "--json", cwd=folder)  # which remembers what was allowed
    assert said.code == 3, said.err
    assert (said.json["done"], said.json["failed"], said.json["in_doubt"]) == (9, 1, 0)
    batch = folder / "output" / "inputs-sandbox"
    results = {line["id"]: line for line in map(json.loads, (batch / "results.jsonl").read_text().splitlines())}
    assert results["unconsented"]["error"]["kind"] == "needs_consent"
    assert "only you can give" in results["unconsented"]["error"]["message"]
    assert all((batch / clip["file"]).is_file() for line in results.values() for clip in line["clips"])


def test_a_file_that_is_too_short_too_long_or_too_small_is_told_before_anything_is_made(folder: Path) -> None:
    (folder / "song.wav").write_bytes(song(1))
    (folder / "leaf.png").write_bytes(picture(9).replace(struct.pack(">II", 400, 300), struct.pack(">II", 200, 300)))
    said = run("validate", "m.yaml", "--allow-inputs", "../shared", cwd=folder)
    assert said.code == 2
    told = [line for line in said.err.splitlines() if ": song.wav: " in line or ": leaf.png: " in line]
    assert [line.split(": ", 1)[1] for line in told] == [
        "song.wav: it lasts 1 s, and 3 s is the least.",
        "leaf.png: it is 200x300; seedance-2-0-reference-to-video-basic takes no side below 300 pixels.",
        "song.wav: it lasts 1 s, and 2 s is the least.",
        "leaf.png: it is 200x300; seedance-2-0-image-to-video takes no side below 300 pixels.",
        "leaf.png: it is 200x300; seedance-2-0-image-to-video takes no side below 300 pixels.",
    ]
