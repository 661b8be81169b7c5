"""Where the ids of sessions, executors, batches and harness revisions lead."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse

from keeptrusts_runners.identity.principal import Principal
from profiles.models import HarnessRevision
from sessions.batch_models import RunnerBatch
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession


def session(session_id: UUID, by: Principal) -> str | None:
    found = RunnerSession.objects.in_organization(by.organization_id).filter(id=session_id)
    return reverse("session", args=[session_id]) if found.exists() else None


def executor(executor_id: UUID, by: Principal) -> str | None:
    found = RunnerExecutor.objects.filter(organization_id=by.organization_id, id=executor_id)
    return reverse("executor", args=[executor_id]) if found.exists() else None


def batch(batch_id: UUID, by: Principal) -> str | None:
    found = RunnerBatch.objects.filter(organization_id=by.organization_id, id=batch_id)
    return reverse("batch", args=[batch_id]) if found.exists() else None


def harness(harness_id: UUID, by: Principal) -> str | None:
    found = HarnessRevision.objects.filter(organization_id=by.organization_id, id=harness_id)
    profile_id = found.values_list("profile_id", flat=True).first()
    return reverse("harness", args=[profile_id, harness_id]) if profile_id else None
