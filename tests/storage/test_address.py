"""What is taken as the URL of a store, and what is refused with a word on what to do."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.storage.address import endpoint_is_loopback, is_remote, parse_store


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b.c_d-e/", "s3://bucket/a/b.c_d-e"),
        ("gs://my.bucket/x=1", "gs://my.bucket/x=1"),
        ("az://container/prefix", "az://container/prefix"),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(text: str, url: str) -> None:
    assert parse_store(text).url == url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3://AKIA:secret@bucket/x", "Credentials come from the environment"),
        ("s3://bucket/x?sig=abc", "a bucket and a prefix and nothing else"),
        ("s3://bucket/x#y", "a bucket and a prefix and nothing else"),
        ("ftp://bucket/x", "Name one of s3://, gs://, az://"),
        ("bucket/x", "Name one of s3://, gs://, az://"),
        ("file:///tmp", "Name one of s3://, gs://, az://"),
        ("s3:///x", "names no bucket"),
        ("s3://bü/x", "names no bucket"),
        ("s3://bucket/a//b", "between single slashes"),
        ("s3://bucket/../b", "between single slashes"),
        ("s3://bucket/a b", "between single slashes"),
        ("s3://bucket/%2e%2e", "between single slashes"),
        ("s3://[bucket", "this is no URL"),
    ],
)
def test_anything_else_is_refused_and_no_credentials_are_repeated(text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_store(text)
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "sig=abc" not in str(refused.value)


def test_a_destination_is_remote_where_it_is_a_url() -> None:
    assert is_remote("s3://bucket")
    assert not is_remote("exports/videofolder")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_only_this_machine_is_reached_without_encryption(name: str) -> None:
    assert endpoint_is_loopback({name: "http://127.0.0.1:9000"})
    assert endpoint_is_loopback({name: "http://[::1]:9000"})
    assert not endpoint_is_loopback({name: "https://minio.example.com"})
    assert not endpoint_is_loopback({})
    with pytest.raises(InputError, match=r"not encrypted.*AWS_ALLOW_HTTP=true"):
        endpoint_is_loopback({name: "http://minio.example.com"})
    assert not endpoint_is_loopback({name: "http://minio.example.com", "AWS_ALLOW_HTTP": "true"})
