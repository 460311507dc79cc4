"""A PostgreSQL server of a test's own: in a folder of its own, on a free port of loopback, durable as a real one is."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "jit": "off",
}
BARE = {"update_process_title": "off", "track_activities": "off", "wal_level": "minimal", "max_wal_senders": "0"}
"""What a server need not do for somebody who makes many short transactions and watches none of them."""
USER = "clipmill"
IN_MEMORY = "/dev/shm"
STARTS_WITHIN_S = 30.0
MISSING = "no PostgreSQL server is installed (initdb and postgres, for example Debian's postgresql)"


def programs() -> Path | None:
    """Return the folder of the newest server's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    candidates = [*(path.parent for path in reversed(found)), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((each for each in candidates if (each / "postgres").exists()), None)


class Server:
    """One server and its folder. The mutable state is its process."""

    def __init__(self, *, in_memory: bool = False, **settings: str) -> None:
        """Make the folder and start the server; `settings` are postgresql.conf's.

        `in_memory` has the folder on a disk in memory, where there is one: for tests in which no server dies. It still
        syncs, and says so, as a ledger wants it.
        """
        bin_folder = programs()
        assert bin_folder is not None, MISSING
        self._bin = bin_folder
        self._as: dict[str, int] = _somebody_else()
        where = IN_MEMORY if in_memory and os.access(IN_MEMORY, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="clipmill-postgres-", dir=where))
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self.port = _free_port()
        self.dsn = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        self._settings = SETTINGS | settings
        if in_memory:
            self._settings |= BARE | {"unix_socket_directories": str(self.folder)}
            self.dsn = f"postgresql://{USER}@/postgres?host={quote(str(self.folder), safe='')}&port={self.port}"
        self._child: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd="/", check=False, **self._as)
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Start the server and wait until it lets somebody in."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", self._data, "-p", str(self.port), *options]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                preexec_fn=_die_with_the_tests,
                **self._as,
            )
        until_s = time.monotonic() + STARTS_WITHIN_S
        while True:
            assert self._child.poll() is None, self.log()
            try:
                psycopg.connect(self.dsn, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < until_s, self.log()
                time.sleep(0.02)
            else:
                return

    def log(self) -> str:
        """Return what the server has said."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")[-4000:]

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it: quickly, or with SIGQUIT as `pg_ctl stop -m immediate` does, which is a crash."""
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait(30)
            self._child = None

    def crash(self) -> None:
        """Let it die in the middle of whatever it does."""
        self.stop(signal.SIGQUIT)

    def cut_connections(self) -> int:
        """End every session but one's own; return how many there were."""
        with closing(self.connect()) as database:
            found = database.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
        assert found is not None
        return int(found[0])

    def connect(self, schema: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """Connect as a stranger does."""
        options = f"-c search_path={schema}" if schema else ""
        return psycopg.connect(self.dsn, autocommit=True, options=options)

    def ask_for_password(self, password: str) -> None:
        """Let nobody in any more without this password; the server's own superuser is meant, too."""
        with closing(self.connect()) as database:
            database.execute(f"ALTER ROLE {USER} PASSWORD '{password}'")  # type: ignore[call-overload]
            rules = self.folder / "data" / "pg_hba.conf"
            rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            database.execute("SELECT pg_reload_conf()")
        time.sleep(0.2)  # the postmaster reads them a moment later

    def drop(self, schema: str) -> None:
        """Forget a batch."""
        with closing(self.connect()) as database:
            database.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def close(self) -> None:
        """Stop it and remove its folder."""
        with suppress(ProcessLookupError):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.unlink(self.folder.parent / f"{self.folder.name}.log")


def _somebody_else() -> dict[str, int]:
    """Return whom the server runs as where this is root, whom it refuses; nothing for anybody else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid}
    raise AssertionError("root runs no PostgreSQL server, and there is nobody else")


def _die_with_the_tests() -> None:
    """Have the kernel end the server when whoever started it is killed (Linux's PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
