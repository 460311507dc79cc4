import base64
import hashlib
import os
import socket
from pathlib import Path

import pytest

from pipeline.planning.inputs import (
    MAX_INPUT_BYTES,
    InputChanged,
    InputRefused,
    Inputs,
    media_texts,
    open_real,
    read_inputs,
)
from tests.planning.fakes import png

WEBM = b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm" + b"\0" * 40
KINDS = {
    "a.png": (png(), "image", "image/png"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "image", "image/jpeg"),
    "a.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "image", "image/webp"),
    "a.wav": (b"RIFF\x10\0\0\0WAVEfmt ", "audio", "audio/wav"),
    "a.mp3": (b"ID3\x04\0\0\0\0\0\0", "audio", "audio/mpeg"),
    "b.mp3": (b"\xff\xfb\x90\x64" + b"\0" * 20, "audio", "audio/mpeg"),
    "a.mp4": (b"\0\0\0\x18ftypisom\0\0\0\0", "video", "video/mp4"),
    "a.mov": (b"\0\0\0\x14ftypqt  \0\0\0\0", "video", "video/quicktime"),
    "a.webm": (WEBM, "video", "video/webm"),
}


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "batch"
    (inside / "inputs").mkdir(parents=True)
    (inside / "inputs" / "leaf.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "batch-secret").mkdir()
    (tmp_path / "batch-secret" / "x.png").write_bytes(png(2))
    return inside


def refusal(folder, text, kind="image"):
    with pytest.raises(InputRefused) as refused:
        Inputs(folder).find(text, kind)
    return str(refused.value)


def test_a_local_file_is_digested(folder):
    file = Inputs(folder).find("inputs/leaf.png", "image")
    assert file.path == "inputs/leaf.png"
    assert file.sha256 == hashlib.sha256(png()).hexdigest()
    assert file.size_bytes == len(png())
    assert file.media_type == "image/png"


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_told_by_its_first_bytes(folder, name):
    content, kind, media_type = KINDS[name]
    (folder / "disguised.txt").write_bytes(content)
    assert Inputs(folder).find("disguised.txt", kind).media_type == media_type


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_refused(folder, name):
    content, kind, media_type = KINDS[name]
    (folder / name).write_bytes(content)
    wrong = "audio" if kind != "audio" else "image"
    assert media_type in refusal(folder, name, wrong)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GIF89a\x01\0\x01\0", "image/gif"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"#!/bin/sh\n", "no image, audio or video"),
        (b"\xff\xfe\x90\x64", "no image, audio or video"),
        (b"", "is empty"),
    ],
)
def test_what_the_providers_do_not_take_is_refused(folder, content, told):
    (folder / "leaf.png").write_bytes(content)
    assert told in refusal(folder, "leaf.png")


@pytest.mark.parametrize(
    "text",
    [
        "../secret.png",
        "inputs/../../secret.png",
        "../batch-secret/x.png",
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "/proc/self/environ",
        "file:///etc/passwd",
        "FILE:secret.png",
        "s3://bucket/leaf.png",
        "ftp://host/leaf.png",
        "",
        " ",
        "leaf\0.png",
        "leaf\n.png",
        ".",
        "inputs",
        "inputs/",
        "..",
        "a/" * 3000,
        "inputs/leaf.png/x",
    ],
)
def test_a_text_that_leads_nowhere_allowed_is_refused(folder, text):
    assert refusal(folder, text).endswith((".", "?"))


def test_a_link_out_of_the_folder_is_refused(folder):
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "out").symlink_to("..")
    (folder / "twice.png").symlink_to("link.png")
    for text in ("link.png", "out/secret.png", "twice.png"):
        assert "leads out of" in refusal(folder, text)


def test_a_link_within_the_folder_is_followed(folder):
    (folder / "link.png").symlink_to("inputs/leaf.png")
    assert Inputs(folder).find("link.png", "image").sha256 == hashlib.sha256(png()).hexdigest()


def test_a_link_in_a_circle_is_refused(folder):
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    assert refusal(folder, "a.png")


def test_a_folder_that_is_itself_reached_by_a_link_is_fine(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert Inputs(tmp_path / "alias").find("inputs/leaf.png", "image") is not None


@pytest.mark.timeout(5)
def test_a_pipe_is_refused_without_waiting(folder):
    os.mkfifo(folder / "pipe.png")
    assert "device or a pipe" in refusal(folder, "pipe.png")


def test_a_socket_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.png")
        assert "device or a pipe" in refusal(folder, "s.png")


@pytest.mark.timeout(5)
def test_a_device_is_refused_even_in_the_folder_itself():
    assert "device or a pipe" in refusal(Path("/dev"), "zero")


def test_a_file_that_is_too_large_is_refused_unread(folder):
    with (folder / "huge.png").open("wb") as file:
        file.write(png())
        file.truncate(1 << 40)
    assert "larger than 25 MiB" in refusal(folder, "huge.png")


def test_a_file_just_small_enough_is_taken(folder):
    with (folder / "large.png").open("wb") as file:
        file.write(png())
        file.truncate(MAX_INPUT_BYTES)
    assert Inputs(folder).find("large.png", "image").size_bytes == MAX_INPUT_BYTES


def test_a_missing_file_is_told_with_the_nearest_name(folder):
    assert "Did you mean inputs/leaf.png?" in refusal(folder, "inputs/laef.png")


def test_a_file_is_read_once(folder):
    inputs = Inputs(folder)
    first = inputs.find("inputs/leaf.png", "image")
    (folder / "inputs" / "leaf.png").unlink()
    assert inputs.find("inputs/leaf.png", "image") is first


@pytest.mark.parametrize("text", ["https://example.org/leaf.png", "HTTP://example.org/a?b=c", "https://[::1]/x"])
def test_a_url_is_left_to_the_vendor(folder, text):
    assert Inputs(folder).find(text, "image") is None


@pytest.mark.parametrize("text", ["https://", "https:///leaf.png", "http://[::1/x", "https://a b/c", "https://a/\nb"])
def test_half_a_url_is_refused(folder, text):
    assert "not a whole URL" in refusal(folder, text)


def test_a_data_url_is_looked_into(folder):
    def url(media_type, content):
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"

    inputs = Inputs(folder)
    assert inputs.find(url("image/png", png()), "image") is None
    assert inputs.find(url("audio/x-wav", KINDS["a.wav"][0]), "audio") is None
    assert "its bytes are image/png" in refusal(folder, url("image/jpeg", png()))
    assert "nothing that is known" in refusal(folder, url("image/png", b"#!/bin/sh"))
    assert "what is wanted here is" in refusal(folder, url("image/png", png()), "video")
    assert "image/gif" in refusal(folder, url("image/gif", b"GIF89a"))


@pytest.mark.parametrize("text", ["data:image/png,x", "data:;base64,AAAA", "data:image/png;base64,A", "data:x"])
def test_a_broken_data_url_is_refused(folder, text):
    assert refusal(folder, text)


def test_a_refusal_moves_no_cursor_and_is_short(folder):
    told = refusal(folder, "\x1b]0;owned\x07‮" + "x" * 500)
    assert "\x1b" not in told
    assert "‮" not in told
    assert len(told) < 300


def test_media_are_found_wherever_they_stand():
    parameters = {
        "negative_prompt": "no.png",
        "image": "i.png",
        "reference_videos": ["a.mp4", "b.mp4"],
        "elements": [
            {"frontal_image": "f.png", "reference_images": ["r.png"], "video": "v.mp4", "name": "Bob"},
            {"frontal_image_url": "g.png"},
            "e.png",
        ],
        "keyframes": [{"image": "k.png", "frame_index": 24}],
    }
    assert list(media_texts(parameters)) == [
        (("image",), "image", "i.png"),
        (("reference_videos", 0), "video", "a.mp4"),
        (("reference_videos", 1), "video", "b.mp4"),
        (("elements", 0, "frontal_image"), "image", "f.png"),
        (("elements", 0, "reference_images", 0), "image", "r.png"),
        (("elements", 0, "video"), "video", "v.mp4"),
        (("elements", 1, "frontal_image_url"), "image", "g.png"),
        (("elements", 2), "image", "e.png"),
        (("keyframes", 0, "image"), "image", "k.png"),
    ]


def test_the_bytes_are_read_again_before_they_are_sent(folder):
    files = {"inputs/leaf.png": Inputs(folder).find("inputs/leaf.png", "image")}
    assert read_inputs(folder, files) == {"inputs/leaf.png": png()}


def test_a_changed_file_is_not_sent(folder):
    files = {"inputs/leaf.png": Inputs(folder).find("inputs/leaf.png", "image")}
    (folder / "inputs" / "leaf.png").write_bytes(png(9))
    with pytest.raises(InputChanged, match=r"inputs/leaf\.png has changed"):
        read_inputs(folder, files)


def test_a_file_that_became_a_link_out_is_not_sent(folder):
    files = {"inputs/leaf.png": Inputs(folder).find("inputs/leaf.png", "image")}
    (folder / "inputs" / "leaf.png").unlink()
    (folder / "inputs" / "leaf.png").symlink_to("../../secret.png")
    with pytest.raises(InputRefused):
        read_inputs(folder, files)


def test_a_folder_that_became_a_link_after_it_was_resolved_is_not_followed(folder, tmp_path):
    with open_real(folder, ("inputs", "leaf.png"), "inputs/leaf.png") as stream:
        assert stream.read() == png()
    (folder / "inputs").rename(tmp_path / "elsewhere")
    (folder / "inputs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputRefused):
        open_real(folder, ("inputs", "leaf.png"), "inputs/leaf.png")


def test_a_file_that_became_a_link_after_it_was_resolved_is_not_followed(folder, tmp_path):
    (folder / "inputs" / "leaf.png").unlink()
    (folder / "inputs" / "leaf.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputRefused):
        open_real(folder, ("inputs", "leaf.png"), "inputs/leaf.png")


def allowed_finding(folder, text, *allowed):
    return Inputs(folder, allowed).find(text, "image")


def test_a_folder_that_is_allowed_holds_inputs_by_a_relative_and_by_an_absolute_name(folder, tmp_path):
    shared = tmp_path / "batch-secret"
    for text in ("../batch-secret/x.png", str(shared / "x.png")):
        file = allowed_finding(folder, text, shared)
        assert file.path == text
        assert file.sha256 == hashlib.sha256(png(2)).hexdigest()
        assert read_inputs(folder, {text: file}, [shared]) == {text: png(2)}
        with pytest.raises(InputRefused):
            read_inputs(folder, {text: file})


@pytest.mark.parametrize(
    "text", ["../secret.png", "/etc/passwd", "~/x.png", "file:///x.png", "../batch-secret/../secret.png"]
)
def test_what_lies_outside_the_allowed_folders_stays_refused(folder, tmp_path, text):
    with pytest.raises(InputRefused):
        allowed_finding(folder, text, tmp_path / "batch-secret")


def test_a_link_from_an_allowed_folder_does_not_lead_out_of_it(folder, tmp_path):
    (tmp_path / "batch-secret" / "out.png").symlink_to("../secret.png")
    with pytest.raises(InputRefused, match="leads out of"):
        allowed_finding(folder, "../batch-secret/out.png", tmp_path / "batch-secret")


def test_a_link_in_the_folder_may_lead_into_an_allowed_one(folder, tmp_path):
    (folder / "link.png").symlink_to("../batch-secret/x.png")
    assert allowed_finding(folder, "link.png", tmp_path / "batch-secret").size_bytes == len(png(2))


def test_a_missing_file_of_an_allowed_folder_is_told_with_its_neighbour(folder, tmp_path):
    with pytest.raises(InputRefused, match=r"does not exist\. Did you mean .*/x\.png\?"):
        allowed_finding(folder, str(tmp_path / "batch-secret" / "y.png"), tmp_path / "batch-secret")


def test_an_image_is_measured(folder):
    file = Inputs(folder).find("inputs/leaf.png", "image")
    assert (file.width, file.height, file.duration_s) == (1, 1, None)


def test_a_document_is_a_pdf(folder):
    (folder / "a.pdf").write_bytes(b"%PDF-1.7\n")
    assert Inputs(folder).find("a.pdf", "document").media_type == "application/pdf"
    assert "what is wanted here is a PDF document" in refusal(folder, "inputs/leaf.png", "document")
