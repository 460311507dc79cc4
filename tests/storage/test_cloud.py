"""obstore behind the interface: its own store in memory, and its errors told without what a request holds."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.storage.address import parse_store
from pipeline.storage.base import StoreDown, StoreRefused
from pipeline.storage.cloud import OBJECT_MAX_BYTES, CloudStore, open_store, told_error

obstore = pytest.importorskip("obstore", reason="obstore is not installed (extra s3)")

PLACE = parse_store("s3://bucket/foxes")
GENERIC = "Generic S3 error: Error performing PUT http://127.0.0.1/bucket/x in 3ms - "
ANSWERED = GENERIC + "Server returned non-2xx status code: "


@pytest.fixture
def store() -> CloudStore:
    from obstore.store import MemoryStore

    return CloudStore(PLACE, MemoryStore())


async def test_a_name_is_taken_once(store: CloudStore) -> None:
    assert await store.create("clips/fox.mp4", b"fox", {"sha256": "f"}, "video/mp4") is not None
    assert await store.create("clips/fox.mp4", b"deer", {}, "video/mp4") is None
    assert [piece async for piece in store.read("clips/fox.mp4")] == [b"fox"]


async def test_what_is_there_is_told_with_its_labels(store: CloudStore) -> None:
    tag = await store.create("fox", b"fox", {"sha256": "f"}, "video/mp4")
    found = await store.look("fox")
    assert found is not None
    assert (found.size_bytes, found.e_tag, found.labels["sha256"]) == (3, tag, "f")
    assert await store.look("deer") is None
    assert [piece async for piece in store.read("deer")] == []


async def test_only_the_very_object_is_replaced(store: CloudStore) -> None:
    await store.create("fox", b"fox", {}, "text/plain")
    found = await store.look("fox")
    assert found is not None
    assert await store.replace("fox", b"fox 2", {}, "text/plain", found) is not None
    assert await store.replace("fox", b"fox 3", {}, "text/plain", found) is None
    assert b"".join([piece async for piece in store.read("fox")]) == b"fox 2"


async def test_what_no_store_takes_in_one_piece_is_not_begun(store: CloudStore) -> None:
    class Endless(bytes):
        def __len__(self) -> int:
            return OBJECT_MAX_BYTES + 1

    with pytest.raises(StoreRefused, match="at the most"):
        await store.create("fox", Endless(), {}, "video/mp4")


async def test_a_server_that_is_not_there_is_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "AKIAFOX", "SECRET_ACCESS_KEY": "s3cr3t", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = open_store(PLACE, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert store.url == "s3://bucket/foxes"
    with pytest.raises(StoreDown, match="s3://bucket/foxes/fox: the store cannot be reached"):
        await store.create("fox", b"fox", {}, "video/mp4")
    with pytest.raises(StoreDown):
        await store.look("fox")
    with pytest.raises(StoreDown):
        [piece async for piece in store.read("fox")]


def test_what_the_environment_lacks_is_told() -> None:
    with pytest.raises(InputError, match=r"az://container cannot be used.*AZURE_\.\.\."):
        open_store(parse_store("az://container"), {})


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (
            ANSWERED + "503 Service Unavailable: <Error><Code>SlowDown</Code></Error>",
            StoreDown,
            "answered 503 (SlowDown)",
        ),
        (ANSWERED + "500 Internal Server Error: ", StoreDown, "answered 500."),
        (ANSWERED + "409 Conflict: <Code>ConditionalRequestConflict</Code>", StoreDown, "409 (Conditional"),
        (ANSWERED + "429 Too Many Requests: ", StoreDown, "429"),
        (ANSWERED + "403 Forbidden: <Code>SignatureDoesNotMatch</Code>", StoreRefused, "Look at the credentials"),
        (ANSWERED + "400 Bad Request: <Code>ExpiredToken</Code>", StoreRefused, "at the session's token"),
        (GENERIC + "Received redirect without LOCATION, this normally indicates", StoreRefused, "set AWS_REGION"),
        (GENERIC + "HTTP error: error sending request", StoreDown, "cannot be reached"),
        ("Error performing PUT http://169.254.169.254/latest/api/token", StoreRefused, "Set the AWS_... variables"),
    ],
)
def test_an_error_says_whether_to_ask_again_and_what_to_do(text: str, kind: type[Exception], says: str) -> None:
    told = told_error(Exception(text), "put", "s3://bucket/fox", "AWS_")
    assert type(told) is kind
    assert says in str(told)


def test_nothing_that_a_request_held_is_repeated() -> None:
    body = (
        "403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIAFOX</AWSAccessKeyId>"
        "<StringToSign>x-amz-security-token:hush</StringToSign></Error>\n\nDebug source: Authorization: AWS4 hush"
    )
    told = str(told_error(Exception(ANSWERED + body), "put", "s3://bucket/fox", "AWS_"))
    assert "AKIAFOX" not in told
    assert "hush" not in told
