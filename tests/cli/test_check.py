"""The ledger against the disk, as a command: what is told, what is repaired, and that repairing buys nothing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pipeline.ledger.lock import only_process
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.batches import Item, make_batch
from tests.cli.front_door import call
from tests.cli.vendors import PRICE_USD, Shop, charged_usd, job_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELMAX, VENICE = "modelmax", "venice"


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the high-water marks of these batches out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=[MODELMAX, VENICE])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A user with a finished batch of two clips; the vendor is open."""
    shop = Shop(tmp_path, request.param)
    with shop.open() as sandbox:
        shop.sandbox = sandbox
        assert shop.call("run", shop.write("fox", "deer")).code == 0
        yield shop


def clip(shop: Shop, name: str) -> Path:
    return shop.folder / "output/shop/clips" / name


def charged(shop: Shop) -> float:
    assert shop.sandbox is not None
    return charged_usd(shop.sandbox.bill())


def test_a_sound_batch_exits_0(shop: Shop) -> None:
    said = shop.call("check", "output/shop")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("output/shop: 2 items, 2 finished clips, ")
    assert said.out.endswith(": all as the ledger says.\n")
    told = shop.call("check", "output/shop", "--json").json
    assert (told["differences"], told["items"], told["clips"]) == ([], 2, 2)


def test_what_is_missing_is_told_and_fetched_again_without_paying(shop: Shop) -> None:
    before, whole = charged(shop), clip(shop, "fox.mp4").read_bytes()
    clip(shop, "fox.mp4").unlink()
    told = shop.call("check", "output/shop")
    assert told.code == 3
    assert "clips/fox.mp4 is missing.\n" in told.out
    assert "clipmill check output/shop --repair" in told.err
    repaired = shop.call("check", "output/shop", "--repair", "--json")
    assert (repaired.code, repaired.json["differences"]) == (0, [])
    assert repaired.json["repaired"] == ["clips/fox.mp4 is missing and is fetched again."]
    assert clip(shop, "fox.mp4").read_bytes() == whole
    assert charged(shop) == before
    assert shop.call("check", "output/shop").code == 0
    assert shop.results()["fox"]["state"] == "done"


def test_a_changed_clip_is_told_and_never_touched(shop: Shop) -> None:
    clip(shop, "fox.mp4").write_bytes(b"my own cut")
    for form in ([], ["--repair"]):
        said = shop.call("check", "output/shop", *form)
        assert said.code == 3
        assert "clips/fox.mp4 was changed: 10 bytes where" in said.out
        assert "It is left as it is; move it away to have the clip fetched again." in said.out
    assert clip(shop, "fox.mp4").read_bytes() == b"my own cut"


def test_a_foreign_file_is_told_and_left(shop: Shop) -> None:
    clip(shop, "deer__r2.mp4").write_bytes(b"mine")
    said = shop.call("check", "output/shop", "--repair", "--json")
    (difference,) = said.json["differences"]
    assert (said.code, difference["kind"], difference["file"]) == (3, "foreign", "clips/deer__r2.mp4")
    assert clip(shop, "deer__r2.mp4").read_bytes() == b"mine"


def test_a_clip_that_the_vendor_no_longer_has_is_lost_and_told(tmp_path: Path) -> None:
    shop, root = Shop(tmp_path, MODELMAX), tmp_path / "output/shop-sandbox"
    assert shop.call("run", shop.write("fox"), "--sandbox", "--speed", "2000").code == 0
    (root / "clips/fox.mp4").unlink()
    for path in root.glob("sandbox.sqlite*"):
        path.unlink()
    said = shop.call("check", root, "--repair", "--json")
    assert said.code == 3
    assert "fox is lost: its clip is no longer to be had." in said.json["repaired"][-1]
    assert said.json["differences"] == []


def test_every_clip_of_a_job_is_fetched_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path, MODELMAX)
    with shop.open() as sandbox:
        shop.write("fox", fox=", parameters: {duration_seconds: 8, sample_count: 3}")
        assert shop.call("run", "m.yaml").code == 0
        before = charged_usd(sandbox.bill())
        for name in ("fox.mp4", "fox__2.mp4"):
            clip(shop, name).unlink()
        said = shop.call("check", "output/shop", "--repair")
        assert said.code == 0
        assert [clip(shop, name).is_file() for name in ("fox.mp4", "fox__1.mp4", "fox__2.mp4")] == [True] * 3
        assert charged_usd(sandbox.bill()) == before


def test_nothing_is_claimed_for_a_repair(tmp_path: Path) -> None:
    shop = Shop(tmp_path, MODELMAX)
    with shop.open():
        assert shop.call("run", shop.write("deer")).code == 0
        clip(shop, "deer.mp4").unlink()
    with shop.open("claim-drop=1"):
        assert shop.call("run", shop.write("deer", "elk")).code == 4
    with shop.open() as sandbox:
        # An elk that may be claimed once more is at the vendor like any other job that is not yet paid for.
        assert shop.call("resolve", "output/shop", "elk", "--ask-once", "--yes").code == 0
        before = charged_usd(sandbox.bill())
        said = shop.call("check", "output/shop", "--repair", "--json")
        assert said.code == 5
        assert "must still be claimed, which bills" in said.json["paused_because"]
        assert charged_usd(sandbox.bill()) == before
        assert shop.call("resume", "output/shop").code == 0
        assert clip(shop, "deer.mp4").is_file()
        assert charged_usd(sandbox.bill()) > before


def test_a_missing_key_is_told_before_anything_is_changed(shop: Shop) -> None:
    clip(shop, "fox.mp4").unlink()
    variable = f"{shop.provider.upper()}_API_KEY"
    said = shop.call("check", "output/shop", "--repair", **{variable: ""})
    assert (said.code, f"{variable} is not set" in said.err) == (2, True)
    assert shop.results()["fox"]["state"] == "done"


def test_a_restored_ledger_is_told_refused_and_accepted_with_every_purchase_since_in_doubt(shop: Shop) -> None:
    ledger, copy = shop.folder / "output/shop/ledger.sqlite", shop.folder / "copy.sqlite"
    shop.write("fox", "deer", "elk", "owl")
    assert shop.call("run", "m.yaml", "--only", "elk", "--limit", "1").code == 0
    shutil.copy(ledger, copy)
    assert shop.call("run", "m.yaml").code == 0  # buys the owl
    before = charged(shop)
    shutil.copy(copy, ledger)
    refused = shop.call("resume", "output/shop")
    assert (refused.code, "clipmill check output/shop --repair" in refused.err) == (2, True)
    told = shop.call("check", "output/shop", "--json")
    kinds = {difference["kind"] for difference in told.json["differences"]}
    assert (told.code, kinds) == (3, {"restored", "foreign"})
    accepted = shop.call("check", "output/shop", "--repair", "--json")
    assert (accepted.code, accepted.json["in_doubt"]) == (4, 1)
    states = {item: line["state"] for item, line in shop.results().items()}
    assert states == {"fox": "done", "deer": "done", "elk": "done", "owl": "submit_in_doubt"}
    assert shop.call("resume", "output/shop").code == 4
    assert charged(shop) == before
    # What the lost ledger knew can be found at the vendor: the owl is adopted. At ModelMax that claims it once more.
    assert shop.sandbox is not None
    (job_id,) = job_of(shop.sandbox.bill(), "A owl")
    assert shop.call("resolve", "output/shop", "owl", "--adopt", job_id).code == 0
    assert shop.call("resume", "output/shop").code == 0
    assert charged(shop) == pytest.approx(before + (PRICE_USD[MODELMAX] if shop.provider == MODELMAX else 0))


def test_a_rehearsal_is_repaired_in_its_own_sandbox(tmp_path: Path) -> None:
    shop = Shop(tmp_path, VENICE)
    assert shop.call("run", shop.write("fox"), "--sandbox", "--speed", "2000").code == 0
    missing = tmp_path / "output/shop-sandbox/clips/fox.mp4"
    missing.unlink()
    assert shop.call("check", "output/shop-sandbox").code == 3
    assert shop.call("check", "output/shop-sandbox", "--repair").code == 0
    assert missing.is_file()


def test_a_batch_that_is_being_run_is_not_checked(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"))
    with only_process(BatchFolder(root), system()):
        for form in ([], ["--repair"]):
            assert call("check", root, *form).code == 75


def test_a_folder_without_a_ledger_exits_2(tmp_path: Path) -> None:
    for form in ([], ["--repair"]):
        said = call("check", tmp_path, *form)
        assert (said.code, "There is no ledger at" in said.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
