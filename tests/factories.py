"""Objects in the state a test begins with, made by the verbs that make them in the product."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

from django.db import connection

from grants import ledger
from keeptrusts_runners import ids
from keeptrusts_runners.identity import tokens
from profiles import catalog
from profiles.models import RunnerProfile
from sessions import claims, executors, lifecycle
from sessions.claims import ClaimRequest
from sessions.executor_models import RunnerExecutor
from sessions.executors import Introduction
from sessions.models import RunnerSession
from tests.people import Api, Machine, Org

_numbers = itertools.count()


def profile(org: Org, **fields: Any) -> RunnerProfile:
    given = {"name": f"profile-{next(_numbers)}", "execution_target": "runner"} | fields
    by = org.admin.principal
    with org.scope():
        made = catalog.create_profile(given, by=by)
        made.refresh_from_db()
    return made


def pending(org: Org, on: RunnerProfile | None = None, **fields: Any) -> RunnerSession:
    on = on or profile(org)
    given = {"profile_id": on.id, "task_id": f"task-{next(_numbers)}"} | fields
    by = org.operator.principal
    with org.scope():
        return lifecycle.dispatch(given, by=by)


def queue(org: Org, on: RunnerProfile, length: int) -> list[UUID]:
    """So many pending sessions at little cost: one dispatched, and rows like it, whose ledgers
    begin with what happens next."""
    like = pending(org, on)
    made = copies(org, like, length - 1)
    with org.scope():
        ledger.open_heads(org.id, made)
    return [like.id, *made]


def copies(org: Org, like: RunnerSession, number: int) -> list[UUID]:
    """Rows like this one, newer and without ledgers: for what looks at rows alone."""
    columns = [f.column for f in RunnerSession._meta.concrete_fields if not f.generated]
    named = ", ".join(column for column in columns if column != "id")
    with org.scope(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO runner_session ({named}) SELECT {named}"
            " FROM runner_session, generate_series(1, %s) WHERE id = %s RETURNING id",
            [number, like.id],
        )
        return [row[0] for row in cursor.fetchall()]


def claimed(
    org: Org, session: RunnerSession | None = None, by: Machine | None = None
) -> RunnerSession:
    session = session or pending(org)
    holder = (by or org.runner).principal
    with org.scope():
        return claims.claim(session.id, ClaimRequest(), by=holder)


def running(
    org: Org, session: RunnerSession | None = None, by: Machine | None = None
) -> RunnerSession:
    session = claimed(org, session, by)
    with org.scope():
        return claims.heartbeat(
            session.id, by=(by or org.runner).principal, lease_epoch=session.lease_epoch
        )


def asking(org: Org, name: str = "", **introduction: Any) -> RunnerExecutor:
    """An executor that asks for work now, as its claims would have it recorded."""
    said, by = Introduction(name=name, polls=True, **introduction), org.runner.principal
    with org.scope():
        executor_id = executors.greet(said, by=by)
        return RunnerExecutor.objects.get(id=executor_id)


def session_api(org: Org, session: RunnerSession, by: Machine | None = None) -> Api:
    """What executing code holds: the token of the session's present lease."""
    holder = (by or org.runner).principal
    return Api(tokens.issue_session(session.id, holder, session.lease_epoch, 60))


def path(session: RunnerSession, *more: str) -> str:
    return "/".join((f"/runners/sessions/{ids.encode('sess', session.id)}", *more))
