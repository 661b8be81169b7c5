"""What the pages show: one organization in which everything has happened once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.seeding import seeder
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path
from tests.grants import asking
from tests.people import Org

HOSTILE = "<img src=x onerror=alert(1)> \x1b[31mred\x1b[0m \u202egnp.exe javascript:alert(1)"


class World(Org):
    """Peopled with invented sessions; what is named here is made when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        with self.scope():
            Organization.objects.filter(id=self.id).update(name="Acme")
        self.organization.name = "Acme"
        assert all((self.viewer, self.operator, self.approver, self.auditor, self.admin))
        assert self.runner
        # Seeded is drawn by a fixed number, so that pages look alike in every run.
        seeder.seed(self.id, sessions=60, events=2_000, seed=1, now=clock.now())

    @cached_property
    def policy(self) -> RunnerProfile:
        rules = [{"operation": "network.egress:*", "approvals_required": 1, "risk": "high"}]
        return factories.profile(
            self,
            name="network-sandbox",
            description="Runs what needs the network, a host at a time.",
            grant_policy=rules,
        )

    def dispatch(self, task: str) -> RunnerSession:
        return factories.pending(self, self.policy, task_id=task, input={"host": "packages.test"})

    @cached_property
    def waiting(self) -> RunnerSession:
        return self.dispatch("sync-mirror")

    @cached_property
    def running(self) -> RunnerSession:
        session = factories.running(self, self.dispatch("fetch-packages"))
        levels = ["info"] * 12 + ["warning", "error"] + ["debug"] * 6
        self.record(
            session, [{"level": level, "message": f"step {n}"} for n, level in enumerate(levels)]
        )
        self.record(session, [{"level": "info", "message": HOSTILE, "data": {"text": HOSTILE}}])
        return session

    @cached_property
    def failed(self) -> RunnerSession:
        session = factories.running(self, self.dispatch("build-index"))
        self.record(session, [{"level": "error", "message": "connection refused by packages.test"}])
        self.say(session, {"state": "failed", "reason": "harness_error"})
        return session

    @cached_property
    def completed(self) -> RunnerSession:
        session = factories.running(self, self.dispatch("publish-report"))
        answer = self.runner.api.request(
            "POST",
            path(session, "artifacts"),
            raw=b'{"checked": 1284}\n',
            Content_Type="application/json",
            X_Artifact_Name="report.json",
        )
        assert answer.status_code in (200, 201, 400, 422), answer.content
        self.say(session, {"state": "completed", "result": {"checked": 1284}})
        return session

    @cached_property
    def request(self) -> dict[str, Any]:
        return asking.requested(self, self.running, reason="to fetch the index of packages")

    def record(self, session: RunnerSession, events: list[dict[str, Any]]) -> None:
        given = [{"kind": "log"} | event for event in events]
        answer = self.runner.api.post(path(session, "events"), {"events": given})
        assert answer.status_code == 200, answer.content

    def say(self, session: RunnerSession, body: dict[str, Any]) -> None:
        answer = self.runner.api.patch(path(session), body)
        assert answer.status_code == 200, answer.content


def id_of(session: RunnerSession) -> str:
    return ids.encode("sess", session.id)
