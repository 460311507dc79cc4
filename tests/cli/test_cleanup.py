"""`cleanup: true`, as a user meets it: the vendor's copies go when the clips are here, in a run and in a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.vendors import Shop, charged_usd

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, "venice")


def write(shop: Shop) -> str:
    name = shop.write("fox", "deer")
    path = shop.folder / name
    path.write_text(path.read_text() + "cleanup: true\n")
    return name


def test_the_copies_go_and_the_clips_stay(shop: Shop) -> None:
    with shop.open() as sandbox:
        said = shop.call("run", write(shop))
        assert said.code == 0
        assert "venice's own copies of 2 delivered items are deleted." in said.err
        assert all(job["deleted"] for job in sandbox.bill()["jobs"].values())
        assert shop.call("check", "output/shop").code == 0
        assert "the provider's copies were deleted" in shop.call("show", "output/shop", "fox").out


def test_a_clip_that_is_lost_after_its_clean_up_says_so_and_is_not_waited_for(shop: Shop) -> None:
    with shop.open() as sandbox:
        assert shop.call("run", write(shop)).code == 0
        charged = charged_usd(sandbox.bill())
        (shop.folder / "output/shop/clips/fox.mp4").unlink()
        said = shop.call("check", "output/shop", "--repair")
        assert said.code == 3
        assert "venice was told to delete its copy once it was here" in said.err
        assert "A new one is bought with clipmill retry" in said.err
        assert shop.results()["fox"]["error"]["kind"] == "cleaned_up"
        assert charged_usd(sandbox.bill()) == charged


def test_a_batch_made_without_it_is_cleaned_up_afterwards_and_then_needs_no_key_any_more(shop: Shop) -> None:
    with shop.open() as sandbox:
        assert shop.call("run", shop.write("fox", "deer")).code == 0
        before = sandbox.bill()
        assert not any(job["deleted"] for job in before["jobs"].values())
        assert shop.call("run", write(shop)).code == 0
        after = sandbox.bill()
        assert all(job["deleted"] for job in after["jobs"].values())
        assert after["totals"] == before["totals"]
        assert shop.call("resume", "output/shop", VENICE_API_KEY="").code == 0
