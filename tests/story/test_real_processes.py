"""A runner that dies, is stopped or is frozen in the middle of a real task, and what becomes of it.

Everything is real: the server, its maintenance loop, the runners and the harness are processes;
the only thing between them is HTTP.
"""

from __future__ import annotations

import json
import os
import signal
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from tests.commands.house import FINAL, House, said_by
from tests.commands.product import (
    Http,
    Product,
    eventually,
    new_data_dir,
    processes_about,
    remove_data_dir,
)

FILES = 60


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    data_dir = new_data_dir()
    product = Product(data_dir)
    try:
        yield House.open(product, "--maintain")
    finally:
        product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number in range(FILES):
        path = tmp_path / f"{number % 7}" / f"file-{number:03}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content of {number}\n" * number)
    return tmp_path


@pytest.fixture
def profile(house: House, request: pytest.FixtureRequest) -> str:
    return house.profile(request.node.name[:60], "collect_artifacts.py")


def collect(house: House, profile: str, files: Path) -> str:
    """A task of some seconds, with six checkpoints on its way."""
    given = {"root": str(files), "checkpoint_every": 10, "pause_ms": 60}
    return house.dispatch(profile, input=given)


def packed(house: House, session: str) -> Counter[str]:
    """How often each file lies in the parts that the manifest names."""
    artifacts = {each["name"]: each for each in house.api.items(f"{session}/artifacts")}
    manifest = json.loads(content(house, session, artifacts["manifest.json"]["id"]))
    names: Counter[str] = Counter()
    for part in manifest["parts"]:
        with tarfile.open(fileobj=BytesIO(content(house, session, part["artifact_id"]))) as archive:
            names.update(
                name.removeprefix("files/")
                for name in archive.getnames()
                if name.startswith("files/")
            )
    assert sorted(names) == sorted(entry["path"] for entry in manifest["files"])
    return names


def content(house: House, session: str, artifact_id: str) -> bytes:
    answer = house.api.request("GET", f"{session}/artifacts/{artifact_id}/content")
    assert answer.status == 200, answer.content
    return answer.content


def each_once(files: Path) -> Counter[str]:
    return Counter(str(path.relative_to(files)) for path in files.rglob("*.txt"))


def by_epoch(events: list[dict[str, Any]], epoch: int) -> list[dict[str, Any]]:
    """What was recorded under an epoch, the server's own words about its end aside."""
    ends = ("lease.expired", "state.pending", "grant.ended")
    return [e for e in events if e["lease_epoch"] == epoch and e["kind"] not in ends]


def expect_second_attempt_from_checkpoint(house: House, session: str, files: Path) -> None:
    ended = house.wait_for_state(session, *FINAL)
    assert (ended["state"], ended["attempt"], ended["lease_epoch"]) == ("completed", 2, 2), ended
    assert packed(house, session) == each_once(files)
    events = house.api.items(f"{session}/events")
    (resumed,) = [e for e in events if (e["message"] or "").startswith("Resumed after")]
    assert resumed["lease_epoch"] == 2
    again = next(e for e in events if e["kind"] == "lease.granted" and e["lease_epoch"] == 2)
    over = next(e for e in events if e["kind"] == "state.pending" and e["seq"] > 1)
    assert max(e["seq"] for e in by_epoch(events, 1)) < over["seq"] < again["seq"]
    assert min(e["seq"] for e in by_epoch(events, 2)) > over["seq"]
    attempts = house.api.get(f"{session}/attempts")["items"]
    assert sorted(each["number"] for each in attempts) == [1, 2], attempts
    bundle = files / "evidence.tar"
    bundle.write_bytes(house.api.request("GET", f"{session}/evidence").content)
    assert verify_bundle(bundle, None, None).exit_code == 0


@contextmanager
def asleep(*processes: int) -> Iterator[None]:
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.proves("crash.runner")
def test_a_killed_runner_leaves_no_harness_and_the_next_one_goes_on(
    house: House, profile: str, files: Path
) -> None:
    session = collect(house, profile, files)
    first = house.start_runner("killed", profile)
    house.wait_for_event(session, "checkpoint.recorded", 2)

    first.signal(signal.SIGKILL)
    first.wait()
    eventually(
        lambda: not processes_about(house.work_dir("killed")), "its harness dies with it", 20
    )
    house.start_runner("next", profile)

    expect_second_attempt_from_checkpoint(house, session, files)
    (expired,) = [e for e in house.api.items(f"{session}/events") if e["kind"] == "lease.expired"]
    assert expired["lease_epoch"] == 1
    assert house.api.get(session)["failures"] == 1


def test_a_stopped_runner_hands_its_session_back_at_once(
    house: House, profile: str, files: Path
) -> None:
    session = collect(house, profile, files)
    first = house.start_runner("stopped", profile)
    house.wait_for_event(session, "checkpoint.recorded", 2)

    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    # Handed back under its own lease, so that nobody had to wait for that to expire.
    assert house.api.get(session)["state"] == "pending"
    house.start_runner("after", profile)

    expect_second_attempt_from_checkpoint(house, session, files)
    kinds = [e["kind"] for e in house.api.items(f"{session}/events")]
    assert "lease.expired" not in kinds


def test_a_runner_that_waits_for_work_takes_it_at_once_and_stops_at_once(house: House) -> None:
    profile = house.profile("waits", "patient.py")
    # One that polls would do nothing more after its first empty answer.
    runner = house.start_runner("waits", profile, "--poll-seconds", "300")

    for _ in range(3):
        session = house.dispatch(profile, input={"seconds": 0})
        house.wait_for_state(session, "completed")
    runner.signal(signal.SIGTERM)

    # Well before the claim that waits would have been answered.
    assert runner.wait(15) == 0
    assert said_by(runner)[-1]["event"] == "runner.stopped"


def test_an_evicted_runner_loses_what_it_runs_and_is_given_nothing_more(house: House) -> None:
    profile = house.profile("evicts", "patient.py")
    session = house.dispatch(profile, input={"seconds": 3})
    evicted = house.start_runner("evicted", profile)
    running = house.wait_for_state(session, "running")
    (executor,) = [e for e in house.api.items("/v1/runners/executors") if e["name"] == "evicted"]

    house.api.post(f"/v1/runners/executors/{executor['id']}/evict", {"reason": "Disk errors"})

    told = {"session.lost", "runner.draining"}
    eventually(
        lambda: told <= {each["event"] for each in said_by(evicted)},
        f"it says {told}",
        instead=evicted.said,
    )
    assert set(processes_about(house.work_dir("evicted"))) == {evicted.pid}
    (drained,) = [each for each in said_by(evicted) if each["event"] == "runner.draining"]
    assert (drained["executor_id"], drained["reason"]) == (executor["id"], "Disk errors")
    assert house.api.get(session)["state"] == "pending"
    house.start_runner("heir", profile)
    ended = house.wait_for_state(session, *FINAL)
    assert (ended["state"], ended["lease_epoch"]) == ("completed", running["lease_epoch"] + 1)
    assert not evicted.has_ended()
    # A drained runner has no claim under way that it would have to see to.
    evicted.signal(signal.SIGTERM)
    assert evicted.wait(15) == 0


@pytest.mark.proves("fence.frozen-runner")
def test_a_frozen_runner_can_write_nothing_when_it_wakes_up(
    house: House, profile: str, files: Path
) -> None:
    session = collect(house, profile, files)
    frozen = house.start_runner("frozen", profile)
    house.wait_for_event(session, "checkpoint.recorded", 2)
    (token_file,) = house.work_dir("frozen").rglob("session-token")
    stale = Http(house.api.url, token_file.read_text())

    with asleep(frozen.pid, *processes_about(house.work_dir("frozen"))):
        house.start_runner("other", profile)
        expect_second_attempt_from_checkpoint(house, session, files)
        before = house.api.items(f"{session}/events")
        artifacts = house.api.items(f"{session}/artifacts")

    eventually(
        lambda: "session.lost" in [each["event"] for each in said_by(frozen)],
        "the frozen runner learns that it has lost its lease",
    )
    for method, path, body in (
        ("POST", "/heartbeat", {}),
        ("POST", "/events", {"kind": "log", "message": "too late"}),
        ("POST", "/checkpoint", {"data": {"after": "z"}}),
        (
            "POST",
            "/permissions",
            {"operation": "filesystem.read:/", "reason": "r", "ttl_seconds": 60},
        ),
        ("PATCH", "", {"state": "completed"}),
        ("PATCH", "", {"progress": {"current": 1, "total": 2}}),
    ):
        answer = stale.request(method, session + path, body)
        refused = (answer.status, answer.json()["code"])
        assert refused == (409, "lease_lost"), (method, path, answer.content)
    late = stale.request("POST", f"{session}/artifacts?name=late.txt&kind=file", {"late": True})
    assert (late.status, late.json()["code"]) == (409, "lease_lost")

    assert house.api.items(f"{session}/artifacts") == artifacts
    assert house.api.items(f"{session}/events") == before
    assert house.api.get(session)["state"] == "completed"
