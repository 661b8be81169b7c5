"""Embedded PostgreSQL, the keeper: one detached process that runs the server as its child.

`python -m keeptrusts_runners.postgres_keeper DATA_DIR [--not-durable]` returns when the server
answers, and leaves the keeper behind. The keeper stops the server when nobody uses it, starts it
again when it crashes, and takes it along when it dies itself: the kernel then sends the server
the signal for an immediate shutdown.
"""

from __future__ import annotations

import ctypes
import fcntl
import locale
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from keeptrusts_runners import postgres_programs
from keeptrusts_runners.postgres import (
    KEEPER_IS_BUSY,
    PORT,
    START_SECONDS,
    SUPERUSER,
    Location,
    PostgresError,
    answers,
    location,
    open_private,
    try_lock,
)
from keeptrusts_runners.postgres_programs import Account, as_account

POLL_SECONDS = 0.2
STOP_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    # PostgreSQL waits for ever by default. Statements are bounded for each role in roles.sql.
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class Server:
    """The postmaster of one cluster, as our child process."""

    def __init__(self, where: Location, durable: bool) -> None:
        self.account = Account.choose(where)
        self.where = postgres_programs.settle(where, self.account)
        self.programs = postgres_programs.choose(self.where, self.account)
        self.settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what is missing: the cluster and the directory of the socket."""
        own_directory(self.where.socket_dir, self.account)
        if (self.where.cluster / "PG_VERSION").exists():
            return
        # Under another name until it is whole: an interrupted initdb must not look like a cluster.
        draft = self.where.place / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        own_directory(draft, self.account)
        process = self._run(*self._initdb(draft))
        said = process.communicate()[0].decode(errors="replace")
        if process.returncode != 0:
            raise PostgresError(f"initdb failed: {_reason(said)}")
        draft.rename(self.where.cluster)

    def _initdb(self, directory: Path) -> list[str]:
        return [
            str(self.programs / "initdb"),
            f"--pgdata={directory}",
            f"--username={SUPERUSER}",
            "--auth-local=trust",  # The directory of the socket is the guard.
            "--auth-host=reject",
            "--encoding=UTF8",
            "--lc-collate=C",
            f"--lc-ctype={_character_type()}",
            "--lc-messages=C",
            "--data-checksums",
            "--no-instructions",
        ]

    def start(self) -> None:
        """Start and wait until it answers. Raises PostgresError when it does not."""
        lock = self._reserve_cluster()
        sockets = str(self.where.socket_dir).replace('"', '""')
        settings = self.settings | {"unix_socket_directories": f'"{sockets}"'}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.where.cluster), *options]
        self.process = self._run(*command, output=None, inherited=(lock,))
        os.close(lock)
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.where.socket_dir):
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.where.log.read_text(errors="replace")
                raise PostgresError(f"PostgreSQL did not start: {_reason(log)}")
            time.sleep(0.02)

    def _reserve_cluster(self) -> int:
        """A lock that every process of the server inherits, so that the kernel knows when the
        last one has ended: those of a killed server take a moment. Its own lock files may stay
        and name a process that is by now somebody else's; under this lock they are void."""
        lock = open_private(self.where.server_lock)
        deadline = time.monotonic() + 10
        while not try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise PostgresError(f"another PostgreSQL is using {self.where.cluster}; stop it.")
            time.sleep(0.02)
        for stale in (self.where.cluster / "postmaster.pid", *self.where.socket_dir.iterdir()):
            stale.unlink(missing_ok=True)
        return lock

    def stop(self) -> None:
        """Fast shutdown; harder when that takes too long."""
        if self.process is None:
            return
        steps = ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 6.0), (signal.SIGKILL, None))
        for number, seconds in steps:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                continue

    def _run(
        self,
        *command: str,
        output: int | None = subprocess.PIPE,
        inherited: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,
            pass_fds=inherited,
            preexec_fn=_dies_with(os.getpid()),
            **as_account(self.account),
        )


def _dies_with(parent: int) -> Callable[[], None]:
    """Run in the child before exec, after it has changed its account (which would undo it)."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def bind() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
            if os.getppid() != parent:
                os._exit(1)

    return bind


def own_directory(path: Path, account: Account | None) -> None:
    """A directory that only the account enters. Raises PostgresError for somebody else's."""
    uid = account.uid if account else os.geteuid()
    try:
        path.mkdir(mode=0o700)
        if account:
            os.chown(path, account.uid, account.gid)
    except FileExistsError:
        pass
    found = path.lstat()
    if not path.is_dir() or path.is_symlink() or found.st_uid != uid or found.st_mode & 0o077:
        raise PostgresError(f"{path} is in the way: remove it.")


def _character_type() -> str:
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


def _reason(output: str) -> str:
    """The line that says why, of what a program of PostgreSQL's printed."""
    lines = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
    found = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line)] or lines
    return re.split(r"\b(?:FATAL|PANIC|error):\s*", found[-1])[-1]


def keep(server: Server, report_ready: Callable[[], None]) -> None:
    """Run the server until nobody uses it, and start it again however it ends. Raises PostgresError
    when it does not start the first time."""
    users = open_private(server.where.users_lock)
    server.prepare()
    try:
        server.start()
        report_ready()
        short_lives = 0
        while True:
            began = time.monotonic()
            if _watch(server, users):
                return
            short_lives = short_lives + 1 if time.monotonic() - began < 1 else 0
            if _are_gone(users, min(0.05 * 2**short_lives, LONGEST_PAUSE_SECONDS)):
                return
            _start_again(server)
    finally:
        server.stop()
        if server.where.socket_dir.parent != server.where.place:
            # Nobody would ever find it again in the shared temporary directory.
            shutil.rmtree(server.where.socket_dir, ignore_errors=True)


def _watch(server: Server, users: int) -> bool:
    """True when nobody uses the server any more, False when it crashed. The lock is kept on
    True: whoever comes now waits until this keeper has ended."""
    assert server.process is not None
    while True:
        try:
            server.process.wait(POLL_SECONDS)
            return False
        except subprocess.TimeoutExpired:
            if try_lock(users, fcntl.LOCK_EX):
                return True


def _are_gone(users: int, seconds: float) -> bool:
    """Wait for so long, so that a server that crashes again and again does not eat the machine;
    True as soon as nobody uses it any more, as in `_watch`."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if try_lock(users, fcntl.LOCK_EX):
            return True
        time.sleep(min(left, POLL_SECONDS))
    return False


def _start_again(server: Server) -> None:
    """One that crashes as it recovers is another that has ended: its users are still there."""
    try:
        server.start()
    except PostgresError:
        traceback.print_exc()
        server.stop()


def _detach(where: Location) -> None:
    os.setsid()
    os.chdir("/")
    if where.log.exists():
        where.log.replace(where.log.with_suffix(".log.1"))
    log = open_private(where.log)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)


def _terminated(*_: Any) -> NoReturn:
    raise SystemExit(0)


def _keeper(where: Location, durable: bool, report: int) -> None:
    """The keeper's whole life. What it writes to `report` is the answer to its starter."""

    def answer(text: str) -> None:
        nonlocal report
        if report >= 0:
            os.write(report, text.encode())
            os.close(report)
            report = -1

    signal.signal(signal.SIGTERM, _terminated)
    _detach(where)
    try:
        keep(Server(where, durable), lambda: answer("ready"))
    except (PostgresError, OSError) as error:
        traceback.print_exc()
        answer(str(error))


def main(data_dir: str, *options: str) -> int:
    """0 when the server answers, KEEPER_IS_BUSY when another keeper is there, else 1."""
    where = location(Path(data_dir))
    try:
        where.home.chmod(0o711)
        lock = open_private(where.keeper_lock)
    except OSError as error:
        print(f"cannot use {where.home}: {error.strerror}.", file=sys.stderr)
        return 1
    if not try_lock(lock, fcntl.LOCK_EX):
        return KEEPER_IS_BUSY
    reading, writing = os.pipe()
    if os.fork() == 0:
        # The lock stays with the child, and ends with it.
        os.close(reading)
        _keeper(where, "--not-durable" not in options, writing)
        return 0
    os.close(writing)
    with os.fdopen(reading) as report:
        said = report.read()
    if said == "ready":
        return 0
    print(said or f"PostgreSQL's keeper failed; see {where.log}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
