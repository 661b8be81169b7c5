"""What holds for the whole run: real databases, and no test that silently does not run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from sessions import brake
from tests.database import databases

pytest_plugins = ["tests.recording"]

# How fast this machine is now says nothing about the code.
hypothesis.settings.register_profile(
    "product", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("product")

# What may be skipped, by the reason that it gives.
EXPECTED_SKIPS = {
    "needs chromium and the tools of bootstrap --dev",
    "needs root, to become another account",
    "needs the system's PostgreSQL",
}

_unexpected_skips: list[str] = []
_database_is_made = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    run_word: str,
    worker_id: str,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """This worker's database behind all aliases, open for the whole session."""
    with django_db_blocker.unblock(), databases(run_word, worker_id):
        request.config.stash[_database_is_made] = True
        yield


@pytest.fixture(scope="session")
def run_word(testrun_uid: str) -> str:
    """A word that all workers of this run share with each other, and with nobody else."""
    return hashlib.sha256(testrun_uid.encode()).hexdigest()[:8]


@pytest.fixture(scope="session", autouse=True)
def _database_when_needed(
    request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Tests need no mark to use the database. It is made at the first connection, so that tests
    that never connect do not wait for it."""
    connect = BaseDatabaseWrapper.ensure_connection

    def make_database_first(self: BaseDatabaseWrapper) -> None:
        BaseDatabaseWrapper.ensure_connection = connect
        request.getfixturevalue("django_db_setup")
        self.ensure_connection()

    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "ensure_connection", make_database_first)
        yield


@pytest.fixture(scope="session", autouse=True)
def _artifacts_of_this_worker(worker_id: str) -> Iterator[None]:
    """Each worker has a store of its own, so that none takes another's uploads for leftovers."""
    place = settings.ARTIFACTS_DIR / worker_id
    # What a run that was killed left behind belongs to a database that is no more.
    shutil.rmtree(place, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ARTIFACTS_DIR", place)
        yield


@pytest.fixture(scope="session", autouse=True)
def _log_of_this_worker() -> Iterator[None]:
    """A key and checkpoints for each worker's database: to one database another's would look
    rolled back."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="keeptrusts-") as place:
        patch.setattr(settings, "LOG_KEY_FILE", Path(place) / "keys" / "log.pem")
        patch.setattr(settings, "CHECKPOINTS_DIR", Path(place) / "checkpoints")
        yield


@pytest.fixture(scope="session", autouse=True)
def _reaper_is_not_missed() -> Iterator[None]:
    """No maintenance loop runs beside the tests, and they leave leases behind that nobody keeps:
    each pass of a test would find cause for a brake. The brake's own tests have the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brake, "cause", lambda seen: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_stuck(
    request: pytest.FixtureRequest, _database_when_needed: None, _reaper_is_not_missed: None
) -> Iterator[None]:
    """Whatever the module's tests did: a pass settles all that is overdue then, and the figure that
    must read 0 does."""
    yield
    if request.config.stash.get(_database_is_made, False):
        from tests import liveness

        liveness.assert_nothing_is_stuck()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ") not in EXPECTED_SKIPS:
        _unexpected_skips.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected_skips and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unexpected_skips:
        terminalreporter.section("skipped, and not on the list of expected skips", red=True)
        for skip in _unexpected_skips:
            terminalreporter.line(skip)
