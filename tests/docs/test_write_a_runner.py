"""docs/write-a-runner.md: its runner does a session's work, and keeps to the lease."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keeptrusts_runners import ids
from tests import factories
from tests.docs.blocks import ROOT, Block, executed, run, shell
from tests.live import until
from tests.people import Org
from tests.runner.control_plane import CLIENT, control_plane

MOST_LINES = 60
PAGE = ROOT / "docs" / "write-a-runner.md"


@pytest.fixture
def found() -> list[Block]:
    return executed(PAGE)


@pytest.fixture
def directory(found: list[Block], tmp_path: Path) -> Path:
    """With the page's two files."""
    runner, work = (block for block in found if block.language == "python")
    (tmp_path / "my_runner.py").write_text(runner.text)
    (tmp_path / "my_work.py").write_text(work.text)
    return tmp_path


def variables(org: Org, url: str) -> dict[str, str]:
    account = (ids.encode("sa", org.runner.account.id), org.runner.secret)
    return served(url, account) | {"ADMIN_TOKEN": org.admin.api.token or ""}


def served(url: str, account: tuple[str, str]) -> dict[str, str]:
    return {"KEEPTRUSTS_URL": url, "CLIENT_ID": account[0], "CLIENT_SECRET": account[1]}


@contextmanager
def working(directory: Path, given: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "my_runner.py"], cwd=directory, env=os.environ | given
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.proves("run.documents")
def test_following_the_page_completes_a_session(
    live_url: str, directory: Path, found: list[Block]
) -> None:
    script = shell([block for block in found if block.language == "sh"])
    told = run(script, variables(Org(), live_url), cwd=directory)
    assert '"state":"completed"' in told
    assert '"result":{"parts":3}' in told


def test_the_runner_is_as_short_as_the_page_says(found: list[Block]) -> None:
    runner = next(block for block in found if block.language == "python")
    assert len(runner.text.splitlines()) <= MOST_LINES


def test_a_wish_to_pause_is_acknowledged_and_the_next_attempt_goes_on(
    live_url: str, directory: Path
) -> None:
    org = Org()
    (directory / "my_work.py").write_text(
        "import time\n"
        "def work(session):\n"
        "    if session.claimed['checkpoint']: return session.claimed['checkpoint']['data']\n"
        "    session.send('POST', '/checkpoint', {'data': {'parts': 1}})\n"
        "    while session.wanted == 'running': time.sleep(0.01)\n"
    )
    lease = {"lease_ttl_seconds": 5, "heartbeat_interval_seconds": 1}
    session = factories.pending(org, on=factories.profile(org, **lease))
    path = f"/runners/sessions/{ids.encode('sess', session.id)}"

    def state() -> str:
        return str(org.viewer.api.get(path).json()["state"])

    with working(directory, variables(org, live_url)):
        until(lambda: state() == "running")
        org.operator.api.post(f"{path}/pause")
        until(lambda: state() == "paused")
        org.operator.api.post(f"{path}/resume")
        until(lambda: state() == "completed")
    assert org.viewer.api.get(path).json()["result"] == {"parts": 1}


def test_work_stops_when_the_lease_is_lost(live_url: str, directory: Path) -> None:
    org = Org()
    (directory / "my_work.py").write_text(
        "import pathlib, time\n"
        "def work(session):\n"
        "    while session.wanted == 'running': time.sleep(0.01)\n"
        "    pathlib.Path('stopped').write_text(session.wanted)\n"
    )
    lease = {"lease_ttl_seconds": 5, "heartbeat_interval_seconds": 1}
    session = factories.pending(org, on=factories.profile(org, **lease))
    path = f"/runners/sessions/{ids.encode('sess', session.id)}"
    with working(directory, variables(org, live_url)):
        until(lambda: org.viewer.api.get(path).json()["state"] == "running")
        forced = org.operator.api.post(f"{path}/cancel", {"force": True})
        assert forced.json()["state"] == "cancelled"
        until(lambda: (directory / "stopped").exists())
    assert (directory / "stopped").read_text() == "lost"
    assert org.viewer.api.get(path).json()["state"] == "cancelled"


def test_the_runner_waits_for_work_and_waits_out_a_drain(directory: Path) -> None:
    (directory / "my_work.py").write_text("def work(session): return {'parts': 1}\n")
    with control_plane() as plane, working(directory, served(plane.url, CLIENT)):
        plane.wait_for_a_waiting_claim()
        plane.drain(True)
        plane.wait_for(lambda: len(plane.claims) > 3, "further claims while it is drained")
        session = plane.dispatch(None)
        assert session.state == "pending"
        plane.drain(False)
        plane.wait_for(lambda: session.state == "completed", "completion")
    assert {claim["wait_seconds"] for claim in plane.claims} == {20}
    assert session.endings == [{"state": "completed", "result": {"parts": 1}}]
