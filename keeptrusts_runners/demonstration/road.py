"""`demo --once`: one real session from dispatch to verified evidence, told step by step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError

from keeptrusts_runners import env
from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.evidence.verifier import cli as verifier
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.runner.client import ApiError

PATIENCE_SECONDS = 180
ANCHOR_SECONDS = 30
_FINAL = ("completed", "failed", "cancelled", "timed_out", "expired", "lost")
_OPEN = "pending,dispatched,running,paused,cancelling"
_WIDTH = 28

# What the ledger's records are called in the telling.
_TOLD = {
    "state.dispatched": "claimed",
    "state.running": "running",
    "checkpoint.recorded": "checkpoint",
    "grant.requested": "grant requested",
    "grant.activated": "grant active",
    "grant.used": "grant used",
    "grant.ended": "grant ended",
    "grant.revoked": "grant revoked",
    "x.egress.refused": "egress refused",
    "x.egress.cut": "egress cut",
    "artifact.stored": "artifact",
    "state.completed": "complete",
    "state.failed": "failed",
    "step.started": "event",
    "step.finished": "event",
}


class Road:
    """Dispatches one session, follows it by its events, and verifies what it leaves behind."""

    def __init__(self, stage: Stage, url: str, out: TextIO) -> None:
        self.operator = stage.client(url, Role.OPERATOR)
        self.approver = stage.client(url, Role.APPROVER)
        self.auditor = stage.client(url, Role.AUDITOR)
        self.out = out
        self.bar = _Bar(out)
        self.started = time.monotonic()

    def walk(self, profile_id: str, directory: Path, then: Callable[[], None]) -> int:
        """0 when the session completed and its bundle verifies offline; `then` is between them."""
        given = {"job": "collect-artifacts", "root": str(env.BASE_DIR), "checkpoint_every": 50}
        session = self.dispatch(profile_id, "demo-once", given)
        path = f"/v1/runners/sessions/{session['id']}"
        ended = self.follow(path, lambda event: self.hear(path, event))
        if ended["state"] != "completed":
            error = ended["error"] or {}
            raise CommandError(
                f"The session ended as {ended['state']}: {error.get('message') or ended['reason']}"
            )
        then()
        return self._verify(session["id"], directory)

    def dispatch(self, profile_id: str, task_id: str, given: dict[str, Any]) -> dict[str, Any]:
        """A session of a profile that nothing else is open of."""
        self._clear_the_way(profile_id)
        body = {"profile_id": profile_id, "task_id": task_id, "input": given}
        session: dict[str, Any] = self.operator.call("POST", "/v1/runners/sessions", body)
        self.tell("dispatched", session["id"])
        return session

    def _clear_the_way(self, profile_id: str) -> None:
        """Cancel what an interrupted demo has left: the one runner would wait with it for an
        approval that nobody is there to give."""
        left = {"profile_id": profile_id, "state": _OPEN}
        for session in self.operator.pages("/v1/runners/sessions", **left):
            path = f"/v1/runners/sessions/{session['id']}/cancel"
            body = {"reason": "Left by an interrupted demo", "force": True}
            self.operator.call("POST", path, body)

    def tell(self, what: str, detail: str = "") -> None:
        self.bar.clear()
        seconds = time.monotonic() - self.started
        self.out.write(f"{seconds:6.2f} s  {what:<17}  {detail}\n")
        self.out.flush()

    def follow(self, path: str, hear: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """The session at its end; `hear` is told of each event."""
        seq = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for event in self.operator.pages(f"{path}/events", after_seq=str(seq)):
                seq = event["seq"]
                hear(event)
            session: dict[str, Any] = self.operator.call("GET", path)
            self.bar.show(session["progress"])
            if session["state"] in _FINAL and seq >= session["counts"]["events"]:
                return session
            time.sleep(0.1)
        raise CommandError(f"The session did not end within {PATIENCE_SECONDS} s.")

    def hear(self, path: str, event: dict[str, Any]) -> None:
        """Tell it, and approve what is asked for."""
        told = _TOLD.get(event["kind"])
        if told:
            self.tell(told, _detail(event))
        if event["kind"] == "grant.requested":
            grant_id = event["data"]["grant_id"]
            body = {
                "operation_digest": event["data"]["operation_digest"],
                "comment": "The demo's approver reads what is asked, and says yes.",
            }
            self.approver.call("POST", f"{path}/permissions/{grant_id}/approve", body)
            self.tell("grant approved", "by another person than the one who dispatched")

    def _verify(self, session_id: str, directory: Path) -> int:
        directory.mkdir(parents=True, exist_ok=True)
        bundle = directory / f"{session_id}.evidence.tar"
        path = f"/v1/runners/sessions/{session_id}/evidence"
        self._wait_for_anchor(path)
        bundle.write_bytes(self.auditor.download(path))
        key_file = directory / "evidence-keys.json"
        key_file.write_bytes(self.auditor.download("/v1/runners/evidence/keys"))
        self.tell("evidence", str(bundle))
        text, exit_code = verifier.run(bundle, str(key_file))
        self.out.write("\n" + text + "\n")
        if exit_code == 0:
            self.tell("evidence verified", "offline, with the exported bundle alone")
            check = f"python3 manage.py verify_evidence {bundle} --key={key_file}"
            self.out.write(f"\nCheck it again, now or in years:\n  {check}\n")
        return exit_code

    def _wait_for_anchor(self, path: str) -> None:
        """Until the log of the organization has the session's last record."""
        self.tell("anchoring", "the signer of the organization's log comes by every few seconds")
        deadline = time.monotonic() + ANCHOR_SECONDS
        while time.monotonic() < deadline:
            found = self._inclusion(path)
            if found and found["pending"] is None:
                leaf, size = found["leaf"], found["checkpoint"]["size"]
                place = f"leaf {leaf['index']} of {size}"
                return self.tell("anchored", f"record {leaf['seq']} is {place} in the log")
            time.sleep(0.2)
        raise CommandError(f"The signer has not come by within {ANCHOR_SECONDS} s.")

    def _inclusion(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.auditor.call("GET", f"{path}/inclusion")
        except ApiError as error:
            if error.code == "not_anchored":
                return None
            raise
        return found


def _detail(event: dict[str, Any]) -> str:
    data = event["data"] or {}
    match event["kind"]:
        case "state.dispatched":
            return f"by {event['actor']}, attempt {data['attempt']}"
        case "checkpoint.recorded":
            return f"{data['number']} {data['label']}"
        case "artifact.stored":
            return f"{data['name']}, {data['size_bytes']:,} bytes, sha256 {data['sha256'][:16]}…"
        case "grant.used":
            return f"{data['operation']}, use {data['use']}"
    return data.get("operation") or event["message"] or ""


class _Bar:
    """A progress bar, on a terminal only."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.wanted = out.isatty() and sys.platform != "win32"
        self.shown = False

    def show(self, progress: dict[str, Any] | None) -> None:
        if not self.wanted or not progress or not progress.get("total"):
            return
        done = min(1.0, progress["current"] / progress["total"])
        filled = round(done * _WIDTH)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        unit = progress.get("unit") or ""
        self.out.write(
            f"\r{bar} {done:4.0%}  {progress['current']:g} of {progress['total']:g} {unit}\033[K"
        )
        self.out.flush()
        self.shown = True

    def clear(self) -> None:
        if self.shown:
            self.out.write("\r\033[K")
            self.shown = False
