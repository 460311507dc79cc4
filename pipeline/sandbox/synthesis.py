"""Real clips: H.264 and AAC of any size and length, the prompt readable in the picture, made with PyAV and Pillow.

A second of video is encoded once, as a closed group of pictures, and its packets repeated to the length asked for; the
tone repeats itself every AAC frame. That makes eight seconds of 720p in about 50 ms. The same input gives the same
bytes for one build of FFmpeg. `python -m pipeline.sandbox.synthesis FOLDER` makes the packaged templates anew.
"""

from __future__ import annotations

import hashlib
import math
import struct
import sys
import tempfile
import textwrap
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.sandbox.catalogue import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

FPS = 24
AUDIO_RATE = 48_000
AAC_FRAME = 1024
"""Samples in one AAC frame; a tone with a whole number of periods in it needs one frame's samples and no more."""
SETTLED = 6
"""The AAC packet from which on the tone is steady, so that repeating it is the same as encoding on."""
TEMPLATE_LENGTH_S = 8.0
TEMPLATES = {"landscape.mp4": (480, 270), "portrait.mp4": (270, 480), "square.mp4": (360, 360)}
TEMPLATE_CRF = 23


def encode(picture: Picture, prompt: str, *, crf: int = 28) -> bytes:
    """Return a whole faststart MP4 of `picture`, the prompt written in it. A lower `crf` (x264's) makes more bytes."""
    digest = hashlib.sha256(prompt.encode()).digest()
    # The faststart rewrite of the MP4 muxer opens the file by its name a second time; memory will not do.
    with tempfile.TemporaryDirectory(prefix="clipmill-sandbox-") as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
            video = container.add_stream("libx264", rate=FPS)
            video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
            video.codec_context.gop_size = FPS
            video.codec_context.max_b_frames = 0
            video.codec_context.thread_count = 1
            video.options = {"preset": "ultrafast", "crf": str(crf), "x264-params": "scenecut=0:open-gop=0"}
            packets = [*video_packets(video, picture, prompt, digest)]
            if picture.has_audio:
                audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
                packets += audio_packets(audio, picture.duration_s, digest)
            for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
                container.mux(packet)
        return path.read_bytes()


def video_packets(stream: Any, picture: Picture, prompt: str, digest: bytes) -> Iterator[Any]:
    """Yield the packets of the whole length: one encoded group of pictures, repeated."""
    encoded = []
    for number, image in enumerate(images(picture, prompt, digest)):
        frame = av.VideoFrame.from_image(image)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        encoded += stream.encode(frame)
    encoded += stream.encode(None)
    group = [(bytes(packet), packet.is_keyframe) for packet in encoded]
    for number in range(max(1, round(picture.duration_s * FPS))):
        data, is_keyframe = group[number % len(group)]
        packet = av.Packet(data)
        packet.stream = stream
        packet.time_base = Fraction(1, FPS)
        packet.pts = packet.dts = number
        packet.duration = 1
        packet.is_keyframe = is_keyframe
        yield packet


def images(picture: Picture, prompt: str, digest: bytes) -> Iterator[Image.Image]:
    """Yield one second of pictures: a still background with the prompt, and a square that passes below."""
    size = (picture.width, picture.height)
    dark, light = tuple(part // 3 for part in digest[0:3]), tuple(128 + part // 2 for part in digest[3:6])
    still = ImageOps.colorize(Image.linear_gradient("L").resize(size), dark, light)
    short = min(size)
    font = ImageFont.load_default(short / 14)
    lines = textwrap.wrap(prompt, width=max(12, 26 * picture.width // short))[:7]
    draw = ImageDraw.Draw(still)
    draw.multiline_text(
        (picture.width / 2, picture.height / 2), "\n".join(lines), fill="white", font=font, anchor="mm",
        align="center", stroke_width=max(1, short // 240), stroke_fill="black",
    )  # fmt: skip
    side = short // 12
    top = picture.height - 2 * side
    for number in range(FPS):
        left = (picture.width + side) * number // FPS - side
        image = still.copy()
        ImageDraw.Draw(image).rectangle((left, top, left + side, top + side), fill=light, outline="white")
        yield image


def audio_packets(stream: Any, duration_s: float, digest: bytes) -> Iterator[Any]:
    """Yield the AAC packets of a quiet tone that belongs to the prompt: a few encoded, the last of them repeated."""
    periods = 5 + digest[6] % 8
    samples = [round(3000 * math.sin(math.tau * periods * n / AAC_FRAME)) for n in range(AAC_FRAME)]
    payload = struct.pack(f"<{AAC_FRAME}h", *samples)
    encoded: list[bytes] = []
    for number in range(SETTLED + 2):
        frame = av.AudioFrame(format="s16", layout="mono", samples=AAC_FRAME)
        frame.planes[0].update(payload)
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, number * AAC_FRAME, Fraction(1, AUDIO_RATE)
        encoded += map(bytes, stream.encode(frame))
    # The encoder's first packet is its priming: one more than the frames that are heard, and one frame early.
    for number in range(1 + max(1, int(duration_s * AUDIO_RATE) // AAC_FRAME)):
        packet = av.Packet(encoded[min(number, SETTLED)])
        packet.stream = stream
        packet.time_base = Fraction(1, AUDIO_RATE)
        packet.pts = packet.dts = (number - 1) * AAC_FRAME
        packet.duration = AAC_FRAME
        packet.is_keyframe = True
        yield packet


def make_templates(folder: Path) -> None:
    """Write the packaged templates into `folder`."""
    for name, (width, height) in TEMPLATES.items():
        picture = Picture(width=width, height=height, duration_s=TEMPLATE_LENGTH_S, has_audio=True)
        (folder / name).write_bytes(encode(picture, "clipmill sandbox", crf=TEMPLATE_CRF))


if __name__ == "__main__":
    make_templates(Path(sys.argv[1]))
