"""A PostgreSQL server for tests: a real one, of this machine, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import frozen

from wavespeed_async.batch.postgres import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "tell-nobody-7"
"""Nowhere to be seen in what is told."""
BINARIES = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"), Path("/opt/homebrew/opt"))

AFTERWARDS = 'cat > /dev/null; "$1/pg_ctl" stop -w -D "$2/data" -m immediate; rm -rf "$2"'
"""What ends a server when the tests do: its input ends with them, even if they are killed."""


def binaries() -> Path | None:
    """Find the folder of the server's programs."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    there = [path.parent for folder in BINARIES for path in folder.glob("*/bin/initdb")]
    return max(there, default=None)


@frozen
class Server:
    """Hold a server that runs."""

    programs: Path
    folder: Path
    port: int
    user: dict[str, Any]

    @property
    def database(self) -> str:
        """The address of its database."""
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def journal(self, name: str | None = None) -> str:
        """The address of a journal in it: a new one, unless it is named."""
        return f"{self.database}?journal={name or uuid.uuid4().hex}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs, as its user: it refuses to run as root."""
        subprocess.run(  # noqa: S603 (the server's own programs)
            [str(self.programs / program), "-D", str(self.folder / "data"), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self.user,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=40"
        )
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """End it as a crash does: nothing more is written."""
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")

    def execute(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask it, beside whoever else is connected."""
        with closing(psycopg.connect(self.database, autocommit=True)) as connection:
            cursor = connection.execute(question.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def within(self, journal: str, statement: str) -> None:
        """Change the tables of a journal."""
        schema = Address.of(journal).schema
        with closing(psycopg.connect(self.database, autocommit=True)) as connection:
            connection.execute("SELECT set_config('search_path', %s, false)", (f'"{schema}"',))
            connection.execute(statement.encode())

    def cut(self, wait: float = 5.0) -> int:
        """End all connections of journals; answer how many there were."""
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
                " WHERE application_name = 'wavespeed-async'",
                int(1000 * wait),
            )
        )


@contextmanager
def serving(programs: Path) -> Iterator[Server]:
    """Run a server, which flushes what it writes, until the block ends."""
    user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="wsa-postgres-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Server(programs, folder, port, user)
    with subprocess.Popen(  # noqa: S603 (our own)
        ["/bin/sh", "-c", AFTERWARDS, "sh", str(programs), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **user,
    ):  # leaving this closes its input, and waits for it
        (folder / "password").write_text(PASSWORD)
        arguments = ["--auth=scram-sha-256", "--username=tester", "--no-sync", "--encoding=UTF8"]
        server.run("initdb", *arguments, "--locale=C", f"--pwfile={folder / 'password'}")
        server.start()
        yield server


def wait_until(ready: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so; give up after a while."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.005)
