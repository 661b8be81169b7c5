"""What the pages show: one organization in which everything has happened once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from grants.models import Artifact
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.models import AuditRecord
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.seeding import seeder
from profiles.models import HarnessRevision, RunnerProfile
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path
from tests.grants import asking
from tests.people import Org, Person

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
        seeder.seed(self.id, sessions=1, events=20, seed=2, now=clock.now(), course="lost")

    @cached_property
    def at_ease(self) -> Person:
        """Who has preferences of their own."""
        return self.person(Role.OPERATOR)

    @cached_property
    def far_away(self) -> Person:
        return self.person(Role.OPERATOR)

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
        kept = self.runner.api.post(
            path(session, "checkpoint"), {"data": {"at": 1}}, X_Lease_Epoch=str(session.lease_epoch)
        )
        assert kept.status_code in (200, 201), kept.content
        return session

    @cached_property
    def failed(self) -> RunnerSession:
        session = factories.running(self, self.dispatch("build-index"))
        self.record(session, [{"level": "error", "message": "connection refused by packages.test"}])
        self.say(session, {"state": "failed", "reason": "harness_error"})
        return session

    @cached_property
    def doomed(self) -> RunnerSession:
        """One that is acted on, so that the others stay as they are."""
        return factories.running(self, self.dispatch("to-be-ended"))

    @cached_property
    def cancelling(self) -> RunnerSession:
        session = factories.running(self, self.dispatch("stop-soon"))
        answer = self.operator.api.post(path(session, "cancel"), {"reason": "no longer needed"})
        assert answer.status_code == 200, answer.content
        return session

    @cached_property
    def lost(self) -> RunnerSession:
        """One that a person has yet to decide about, as seeded."""
        with self.scope():
            return RunnerSession.objects.filter(state="lost", disposition="").latest("id")

    @cached_property
    def artifact(self) -> Artifact:
        with self.scope():
            return Artifact.objects.filter(name="report.json").order_by("-id")[0]

    @cached_property
    def executor(self) -> RunnerExecutor:
        return factories.asking(self, "build-host-7")

    @cached_property
    def harness(self) -> HarnessRevision:
        with self.scope():
            return HarnessRevision.objects.order_by("-id")[0]

    @cached_property
    def audited(self) -> AuditRecord:
        with self.scope():
            return AuditRecord.objects.order_by("-id")[0]

    @cached_property
    def batch(self) -> dict[str, Any]:
        body = {"filter": {"task_id": "sync-mirror"}, "reason": "mirror moved", "dry_run": False}
        answer = self.operator.api.post("/runners/sessions/bulk/cancel", body)
        assert answer.status_code in (200, 201, 202), answer.content
        return dict(answer.json())

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
