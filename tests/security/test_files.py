"""Names, links, rights and files of strangers (threats T9, T10, T11, T18, T22, T23)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import unicodedata
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clips.publish import Settled, publish_clip
from pipeline.errors import ClipmillError, DiskRefused, InputError, LedgerError, ProblemsFound
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger.emergency import Emergency
from pipeline.ledger.mark import write_mark
from pipeline.ledger.reader import reading
from pipeline.ledger.store import Ledger
from pipeline.manifest.validate import read_manifest
from pipeline.paths import BatchFolder
from pipeline.planning.plan import make_plan, offline_providers, plan_file
from pipeline.system.databases import open_database
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from pipeline.system.locks import SystemLocks, SystemShelf
from tests.cli.batches import BEGAN, DONE, Item, accepted, make_batch, planned
from tests.cli.front_door import call

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parents[2] / "pipeline"
SECRET = b"a file of the user's"

# T9

NAMES = (
    *(
        "../x",
        "/etc/x",
        "a/../../b",
        "..\\x",
        "a\0b",
        "x" * 300,
        "CON/x",
        "nul.mp4",
        "COM\u00b9",
        "a.",
        "a ",
        "-rf",
        ".hidden",
    ),
    *(
        "\u202egnp.exe",
        "\U0001f98a",
        "e\u0301",
        "\u00e9",
        "a__b",
        "",
        "a\nb",
        "~",
        "$(id)",
        "a;rm",
        "%2e%2e",
        "clips/x",
    ),
)


def manifest(folder: Path, clips: Any, **more: Any) -> Path:
    path = folder / "m.yaml"
    head = {"version": 1, "name": "n", "provider": "modelmax", "model": "veo-3"}
    path.write_text(json.dumps({**head, "clips": clips, **more}))
    return path


def ids_of(path: Path) -> list[str]:
    """Return the ids of a manifest's items; none where it is refused."""
    effects = system()
    try:
        return [item.id for item in plan_file(path, offline_providers(effects)).items]
    except ProblemsFound:
        return []
    finally:
        effects.threads.close()


def is_a_plain_name(name: str) -> bool:
    """Tell whether every file system takes a name for one file in one folder."""
    return (
        name.isascii()
        and not set(name) - set("-_.") - set(map(chr, range(48, 123)))
        and not set(name) & set("/\\:*?<>|;`^[]@=")
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_manifest_leaves_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.csv").write_text(f'id,caption\n"{name.replace(chr(0), "")}",x\n', encoding="utf-8")
    written = {
        "id": [{"id": name, "prompt": "x"}],
        "matrix": [{"id": "a", "prompt": "{b}", "matrix": {"b": [name, "other"]}}],
        "row": [{"id": "a", "prompt": "{caption}", "rows": "rows.csv"}],
        "name": [{"id": "a", "prompt": "x"}],
    }
    for kind, clips in written.items():
        folder = BatchFolder(tmp_path / "out")
        ids = ids_of(manifest(tmp_path, clips, **({"name": name} if kind == "name" else {})))
        for item_id in ids:
            final = folder.root / folder.clip_name(item_id, 0, 1)
            assert final.parent == folder.clips
            assert is_a_plain_name(final.name), (kind, final.name)
            assert not final.name.startswith((".", "-"))
        if kind == "name" and ids:
            assert is_a_plain_name(name)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(values=st.lists(TEXTS, min_size=1, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_no_two_items_share_a_name_on_any_file_system(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    ids = ids_of(manifest(folder, [{"id": "a", "prompt": "x", "matrix": {"b": values}}]))
    names = {unicodedata.normalize("NFKC", BatchFolder(folder).clip_name(each, 0, 1)).casefold() for each in ids}
    assert len(names) == len(ids)
    assert all(is_a_plain_name(each) for each in ids)


# T10


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A file of the user's, to which a planted link leads."""
    path = tmp_path / "precious"
    path.write_bytes(SECRET)
    return path


def test_a_link_under_a_final_name_is_left_alone_and_the_clip_kept(tmp_path: Path, stranger: Path) -> None:
    part, final = tmp_path / ".a.0.1.part", tmp_path / "a.mp4"
    part.write_bytes(b"clip")
    final.symlink_to(stranger)
    assert publish_clip(SystemFiles(), part, final, "0" * 64, 4) is Settled.TAKEN
    assert (stranger.read_bytes(), part.read_bytes(), final.is_symlink()) == (SECRET, b"clip", True)


def test_a_link_under_the_name_of_a_part_is_not_written_through(tmp_path: Path, stranger: Path) -> None:
    part = tmp_path / ".a.0.1.part"
    part.symlink_to(stranger)
    with pytest.raises(FileExistsError):
        SystemFiles().create(part)
    assert stranger.read_bytes() == SECRET


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.lock", "results.jsonl", "ledger.emergency.jsonl"])
def test_a_link_in_the_place_of_a_file_of_ours_is_not_written_through(
    tmp_path: Path, stranger: Path, name: str
) -> None:
    folder = BatchFolder(tmp_path / "out")
    make_batch(folder.root, Item(id="a", plan=planned(), events=DONE[:2]))
    (folder.root / name).unlink(missing_ok=True)
    (folder.root / name).symlink_to(stranger)
    files = SystemFiles()
    acts: dict[str, Callable[[], Any]] = {
        "ledger.sqlite": lambda: asyncio.run(opened(folder)),
        "ledger.lock": lambda: SystemLocks().acquire(folder.lock, "me"),
        "results.jsonl": lambda: call("results", folder.root),
        "ledger.emergency.jsonl": lambda: Emergency(folder, files).save([an_event()]),
    }
    with suppress(OSError, ClipmillError):
        acts[name]()
    assert stranger.read_bytes() == SECRET


async def opened(folder: BatchFolder) -> None:
    """Open a batch's ledger for writing, and close it."""
    effects = system()
    try:
        ledger = await Ledger.open(folder.ledger, effects, {"pid": 1})
        await ledger.close("finished")
    finally:
        effects.threads.close()


def an_event() -> Event:
    """Return an answer that would go into the journal of last resort."""
    return Event(kind=EventKind.SUBMIT_ACCEPTED, item_id="a", revision=1, at=BEGAN, data=accepted())


def test_a_ledger_that_is_a_link_is_refused_in_a_sentence(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "mine", Item(id="a"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ledger.sqlite").symlink_to(root / "ledger.sqlite")
    said = call("status", tmp_path / "out")
    assert said.code == 2
    assert "symbolic link" in said.err


# T11


def test_what_holds_prompts_or_receipts_is_its_owners_alone(tmp_path: Path) -> None:
    folder, umask = BatchFolder(tmp_path / "out"), os.umask(0)
    try:
        make_batch(folder.root, Item(id="a", plan=planned(), events=DONE[:2]))
        files = SystemFiles()
        Emergency(folder, files).save([an_event()])
        SystemLocks().acquire(folder.lock, "me")()
        SystemShelf(tmp_path / "budgets").update("calls", lambda record: {**record, "a": 1})
        write_mark(tmp_path / "marks", "id", 1, files)
    finally:
        os.umask(umask)
    private = [folder.ledger, folder.emergency, folder.lock, tmp_path / "budgets" / "calls"]
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in private} == dict.fromkeys(
        (path.name for path in private), "0o600"
    )


def test_the_journal_of_an_open_transaction_is_private_too(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with closing(open_database(tmp_path / "ledger.sqlite")) as database:
            database.execute("CREATE TABLE a (b)")
            database.execute("BEGIN")
            database.execute("INSERT INTO a VALUES (1)")
            assert stat.S_IMODE((tmp_path / "ledger.sqlite-journal").stat().st_mode) == 0o600
    finally:
        os.umask(umask)


def test_clips_have_the_rights_that_the_user_gives(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        descriptor = SystemFiles().create(tmp_path / "a.part")
        os.close(descriptor)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.part").stat().st_mode) == 0o640


# T18

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
OUTSIDE = (
    *(
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "/proc/self/environ",
        "../secret.png",
        "inputs/../../secret.png",
        "file:///etc/passwd",
    ),
    *(
        "link.png",
        "out/secret.png",
        "pipe.png",
        "socket.png",
        ".",
        "/dev/zero",
        "FILE:secret.png",
        "\\\\host\\share\\x.png",
    ),
)


@pytest.mark.parametrize("text", OUTSIDE)
@pytest.mark.parametrize("place", ["image", "reference_images", "elements", "rows"])
def test_nothing_outside_the_manifests_folder_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str
) -> None:
    folder = tmp_path / "shared"
    (folder / "inputs").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "out").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    monkeypatch.chdir(folder)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        (folder / "rows.csv").write_text(f"id,image\na,{text}\n")
        given: dict[str, Any] = {
            "image": {"parameters": {"image": text}},
            "reference_images": {"parameters": {"reference_images": [text]}},
            "elements": {"parameters": {"elements": [{"frontal_image": text}]}},
            "rows": {"rows": "rows.csv"},
        }[place]
        path = manifest(folder, [{"id": "a", "prompt": "x", **given}])
        effects = system()
        found, problems = read_manifest(path)
        assert found is not None, problems
        with pytest.raises(ProblemsFound):
            make_plan(found, offline_providers(effects))


def test_a_picture_in_the_folder_is_sent(tmp_path: Path) -> None:
    (tmp_path / "leaf.png").write_bytes(PNG)
    assert ids_of(manifest(tmp_path, [{"id": "a", "prompt": "x", "parameters": {"image": "leaf.png"}}])) == ["a"]


# T22

INJECTIONS = (
    "'); DROP TABLE item;--",
    '"; DELETE FROM event; --',
    "\\'); --",
    "%s %(a)s ? :id",
    "x\x00y",
    "\U0001f98a",
)


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_is_ever_a_part_of_a_statement(tmp_path: Path, text: str) -> None:
    plan = planned(text, metadata={text: text}, model=text, parameters={text: text})
    events = [(EventKind.SUBMIT_STARTED, DONE[0][1]), (EventKind.SUBMIT_ACCEPTED, accepted(text))]
    root = make_batch(tmp_path / "out", Item(id="a", plan=plan, events=events), Item(id="b"), name=text)
    with reading(BatchFolder(root).ledger, system()) as reader:
        jobs = {job.item_id: job for job in reader.jobs()}
        assert (jobs["a"].request.prompt, jobs["a"].job_id, jobs["a"].request.model) == (text, text, text)
        assert reader.summary().name == text
        assert len(reader.events("a")) == 3
        assert not reader.events(text)


def test_no_statement_is_put_together_of_text() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S608,S611", str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


# T23


def ours(path: Path) -> sqlite3.Connection:
    """Open a sound ledger in order to spoil it."""
    make_batch(path.parent, Item(id="a", plan=planned(), events=DONE[:2]))
    return sqlite3.connect(path)


def with_view(path: Path) -> None:
    with closing(ours(path)) as database:
        database.executescript(
            "PRAGMA foreign_keys = 0; ALTER TABLE item RENAME TO was; CREATE VIEW item AS WITH RECURSIVE "
            "n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) SELECT was.*, x FROM was, n;"
        )


def with_trigger(path: Path) -> None:
    with closing(ours(path)) as database:
        database.executescript(
            "CREATE TRIGGER evil AFTER INSERT ON run BEGIN UPDATE money SET committed_micro_usd = -1000000000; END;"
            "DROP TRIGGER item_moves_legally;"
        )


def with_table(path: Path) -> None:
    with closing(ours(path)) as database:
        database.executescript("CREATE TABLE extra (a); CREATE INDEX odd ON extra (a)")


def without_table(path: Path) -> None:
    with closing(ours(path)) as database:
        database.executescript("DROP TABLE money")


def of_another(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE item (id); PRAGMA application_id = 7")


def newer(path: Path) -> None:
    with closing(ours(path)) as database:
        database.executescript("PRAGMA user_version = 99")


def cut(path: Path) -> None:
    ours(path).close()
    path.write_bytes(path.read_bytes()[:5000])


def text(path: Path) -> None:
    path.write_bytes(b"id,prompt\n" * 1000)


REFUSED = {each.__name__: each for each in (with_view, with_table, without_table, of_another, newer, cut, text)}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_no_run_of_ours_wrote_is_refused_and_left_as_it_was(tmp_path: Path, kind: str) -> None:
    folder = BatchFolder(tmp_path / "out")
    folder.root.mkdir()
    REFUSED[kind](folder.ledger)
    before = folder.ledger.read_bytes()
    with pytest.raises((InputError, LedgerError, DiskRefused)):
        asyncio.run(opened(folder))
    assert call("show", folder.root, "a").code != 0
    assert call("status", folder.root).code == 2
    assert folder.ledger.read_bytes() == before


def test_a_trigger_that_somebody_put_into_a_ledger_is_never_set_off(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path / "out")
    folder.root.mkdir()
    with_trigger(folder.ledger)
    asyncio.run(opened(folder))
    with closing(sqlite3.connect(folder.ledger)) as database:
        triggers = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}
        (committed,) = database.execute("SELECT committed_micro_usd FROM money").fetchone()
    assert "evil" not in triggers
    assert "item_moves_legally" in triggers
    assert committed >= 0


def test_a_ledger_of_another_user_is_refused() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.system.databases import open_database\n"
        "os.seteuid(4712)\n"
        "try:\n    open_database(Path(sys.argv[1]))\nexcept PermissionError as error:\n    sys.exit(error.strerror)"
    )
    with TemporaryDirectory(prefix="clipmill-tests-") as name:
        ledger = make_batch(Path(name) / "out", Item(id="a")) / "ledger.sqlite"
        for path in (Path(name), ledger.parent):
            path.chmod(0o777)
        os.chown(ledger, 4711, -1)
        ledger.chmod(0o666)
        done = subprocess.run([sys.executable, "-c", program, str(ledger)], capture_output=True, text=True, timeout=30)
    assert "belongs to another user (4711)" in done.stderr
