"""Embedded PostgreSQL, as its users see it: where it is, and being one of its users.

Any number of processes use one server. Each holds a shared lock on a file; a detached keeper
(`postgres_keeper`) runs the server as its child and stops it once it can take that lock for
itself. The kernel drops locks with their processes, so even kill -9 leaks nothing, and nobody
ever trusts a process id.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUPERUSER = "postgres"
PORT = 5432  # No TCP: the number is only part of the socket's name.
START_SECONDS = 90.0
KEEPER_IS_BUSY = 75

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 107 on Linux and 103 on macOS
_ROOT = Path(__file__).resolve().parent.parent


class PostgresError(Exception):
    """The server cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a data directory's server lives.

    `home` holds the locks and the log. `place` holds the cluster: the same directory, unless the
    account that runs PostgreSQL for root cannot reach it.
    """

    home: Path
    place: Path

    @property
    def cluster(self) -> Path:
        return self.place / "cluster"

    @property
    def socket_dir(self) -> Path:
        beside = self.place / "run"
        short = len(os.fsencode(beside / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH
        if short and "," not in str(beside):  # libpq reads a comma as a list of hosts.
            return beside
        return Path("/tmp") / f"keeptrusts-{fingerprint(self.place)}"

    @property
    def users_lock(self) -> Path:
        return self.home / "users.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.home / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        return self.home / "server.lock"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def elsewhere(self) -> Path:
        """The file that names `place` when it is not `home`."""
        return self.home / "elsewhere"


def fingerprint(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def location(data_dir: Path) -> Location:
    """The location for a data directory; starts nothing and makes nothing."""
    home = Path(data_dir).resolve() / "postgres"
    found = Location(home, home)
    try:
        return Location(home, Path(found.elsewhere.read_text().strip()))
    except OSError:
        return found


def conninfo(data_dir: Path, *, user: str, database: str, **parameters: str | int) -> str:
    """A libpq connection string for the server of a data directory."""
    given: dict[str, str | int | Path] = {
        "host": location(data_dir).socket_dir,
        "port": PORT,
        "user": user,
        "dbname": database,
        **parameters,
    }
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in given.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def answers(socket_dir: Path) -> bool:
    """Whether a server takes sessions there; one that is still recovering listens, but does not."""
    greeting = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
    startup = struct.pack("!ii", 8 + len(greeting), 3 << 16) + greeting
    goodbye = b"X" + struct.pack("!i", 4)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(socket_dir / _SOCKET_NAME))
            probe.sendall(startup + goodbye)
            accepted = probe.recv(1) == b"R"
            while accepted and probe.recv(4096):  # To the end, or the server logs a broken pipe.
                pass
        except OSError:
            return False
    return accepted


@contextmanager
def use(data_dir: Path, *, durable: bool = True) -> Iterator[Path]:
    """Be a user of the server of `data_dir`, which starts when it is not running.

    Yields the socket directory. Leaving waits for the server's end if nobody else uses it.
    `durable=False` gives up safety against power loss (never against crashes of processes) for
    speed; it counts only for the process that starts the server. Raises PostgresError.
    """
    where = location(data_dir)
    try:
        where.home.mkdir(parents=True, exist_ok=True)
        lock = open_private(where.users_lock)
    except OSError as error:
        raise PostgresError(
            f"cannot write to {where.home}: {error.strerror}. "
            "Point KEEPTRUSTS_DATA_DIR at a directory that this account may write."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)  # Waits while a keeper is stopping the server.
        try:
            yield _attach(Path(data_dir), durable)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            _wait_for_end(where, lock)
    finally:
        os.close(lock)


def _attach(data_dir: Path, durable: bool) -> Path:
    deadline = time.monotonic() + START_SECONDS
    while not answers(location(data_dir).socket_dir):
        if time.monotonic() > deadline:
            raise PostgresError(
                f"PostgreSQL did not start within {START_SECONDS:.0f} s; "
                f"see {location(data_dir).log}."
            )
        _start_keeper(data_dir, durable)
    return location(data_dir).socket_dir


def _start_keeper(data_dir: Path, durable: bool) -> None:
    """Returns when the server answers, or when another process's keeper is at work."""
    command = [sys.executable, "-m", "keeptrusts_runners.postgres_keeper", str(data_dir.resolve())]
    if not durable:
        command.append("--not-durable")
    ended = subprocess.run(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode == KEEPER_IS_BUSY:
        time.sleep(0.05)
    elif ended.returncode != 0:
        lines = ended.stderr.strip().splitlines()
        raise PostgresError(lines[-1] if lines else f"see {location(data_dir).log}.")


def _wait_for_end(where: Location, lock: int) -> None:
    """Wait until the server has ended, unless somebody else uses it."""
    try:
        keeper = os.open(where.keeper_lock, os.O_RDWR)
    except OSError:
        return  # No keeper ever ran, or the data directory is gone.
    try:
        while not try_lock(keeper, fcntl.LOCK_SH) and not _used_by_others(lock):
            time.sleep(0.02)
    finally:
        os.close(keeper)


def _used_by_others(lock: int) -> bool:
    """Our own lock is released before. Shared fails only against a keeper that is stopping;
    exclusive then fails only against another user."""
    if not try_lock(lock, fcntl.LOCK_SH):
        return False
    alone = try_lock(lock, fcntl.LOCK_EX)
    fcntl.flock(lock, fcntl.LOCK_UN)
    return not alone


def open_private(path: Path) -> int:
    """A file of our own, for reading and writing. Root leaves it to the owner of the directory,
    so that passing through as root does not shut that owner out."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
