"""Real S3 servers on this machine, each a process of its own on a port and in a folder of its own, and a stranger's
client to look into them with."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUCKET = "clips"
KEY_ID, SECRET = "AKIATORTURE", "torture-secret-0123456789"
UP_WITHIN_S = 60.0
GRPC = 10_000
"""SeaweedFS also listens on each of its ports plus this."""


def program(name: str) -> str | None:
    """Return where a program of this environment is; None where it is not installed."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


PROGRAMS = {"moto": "moto_server", "seaweed": "weed"}


def missing(kind: str) -> str:
    """Return why a server cannot be started; empty where it can."""
    return "" if program(PROGRAMS[kind]) else f"{PROGRAMS[kind]} is not installed (make judges)"


def environment(endpoint: str) -> dict[str, str]:
    """Return what tells obstore, and anybody else, where the server is and who asks."""
    return {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


def client(endpoint: str) -> Any:
    """Return the client that most others use."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
    )


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[str]:
    """Run a server with an empty bucket that keeps every version of an object; yield its address."""
    with (_moto if kind == "moto" else _seaweed)(folder) as endpoint:
        stranger = client(endpoint)
        stranger.create_bucket(Bucket=BUCKET)
        stranger.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield endpoint


@contextmanager
def _moto(folder: Path) -> Iterator[str]:
    port = _free_ports(1)[0]
    command = [program("moto_server") or "", "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, folder / "moto.log", port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _seaweed(folder: Path) -> Iterator[str]:
    s3, master, volume, filer = ports = _free_ports(4)
    data = folder / "weed"
    data.mkdir()
    who = {"name": "torture", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [who]}))
    command = [
        *(program("weed") or "", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}", "-s3"),
        *(f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *(f"-s3.config={config}", "-master.volumeSizeLimitMB=256", "-volume.max=200"),
    ]
    with _process(command, folder / "weed.log", s3):
        _wait_until_it_writes(f"http://127.0.0.1:{s3}", ports)
        yield f"http://127.0.0.1:{s3}"


def _wait_until_it_writes(endpoint: str, ports: Sequence[int]) -> None:
    """Its ports are open before its parts have found each other; then the first writes fail."""
    stranger, ends_at = client(endpoint), time.monotonic() + UP_WITHIN_S
    while True:
        try:
            stranger.create_bucket(Bucket="trial")
            stranger.put_object(Bucket="trial", Key="trial", Body=b"trial")
        except Exception as error:
            if time.monotonic() > ends_at:
                raise AssertionError(f"SeaweedFS does not come up on {ports}") from error
            time.sleep(0.2)
        else:
            return


@contextmanager
def _process(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, cwd=log.parent)
        try:
            ends_at = time.monotonic() + UP_WITHIN_S
            while not _answers(port):
                assert child.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < ends_at, f"{command[0]} does not answer: {log.read_text()[-2000:]}"
                time.sleep(0.1)
            yield
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, each with the one that SeaweedFS opens beside it."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as beside:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] % 40_000 + 10_000
            try:
                with socket.socket() as low:
                    low.bind(("127.0.0.1", port))
                    beside.bind(("127.0.0.1", port + GRPC))
            except OSError:
                continue
            if port not in found:
                found.append(port)
    return found
