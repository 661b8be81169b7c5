"""`/healthz`: the process answers. `/readyz`: it can do its work, and if not, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request

from keeptrusts_runners.api import problems
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.shapes import OutputShape
from keeptrusts_runners.api.views import PublicViewSet

_log = structlog.get_logger("keeptrusts.health")


class NotReadyError(Exception):
    """What a check raises; its text is shown to whoever asks, so it names no addresses."""


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    ok: bool
    detail: str


Check = Callable[[], str | None]
_checks: dict[str, Check] = {}


def register(name: str, check: Check) -> None:
    """Add a check to `/readyz`. It raises NotReadyError, with one sentence for whoever asks; what
    it returns instead is worth knowing, and no reason to send requests elsewhere."""
    _checks[name] = check


def results() -> Iterator[Result]:
    """Every check in the order of registration; none can break another."""
    for name, check in _checks.items():
        try:
            said = check()
        except NotReadyError as missing:
            yield Result(name, False, str(missing))
        except Exception as error:
            _log.warning("readiness_check_failed", check=name, reason=str(error).strip())
            yield Result(name, False, problems.as_domain_error(error).title + ".")
        else:
            yield Result(name, True, said or "ok")


# --- the checks of the platform --------------------------------------------------------------


def database_reachable() -> None:
    """As the application's role: an owner or superuser would pass every policy."""
    expected = settings.DATABASE_ROLES["default"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user::text")
        (role,) = cursor.fetchone()
    if role != expected:
        raise NotReadyError(f"Connected as another role than {expected}.")


@cache
def migrations_applied() -> None:
    """Remembered once it holds: what has been applied stays applied."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotReadyError("Migrations are missing: run manage.py migrate.")


def register_platform_checks() -> None:
    register("database", database_reachable)
    register("migrations", migrations_applied)


# --- the routes ------------------------------------------------------------------------------


class HealthOut(OutputShape):
    status = serializers.CharField()


class CheckOut(OutputShape):
    name = serializers.CharField()
    ok = serializers.BooleanField()
    detail = serializers.CharField()


class ReadinessOut(OutputShape):
    status = serializers.CharField()
    checks = CheckOut(many=True)


class HealthViewSet(PublicViewSet):
    """For load balancers and supervisors."""

    tag = "Health"
    outputs: ClassVar = {"alive": HealthOut, "ready": ReadinessOut}
    examples: ClassVar = {"alive": (Example("The process is up", response={"status": "ok"}),)}

    def alive(self, request: Request, **_: Any) -> HttpResponse:
        """Is the process alive?"""
        return self.answer({"status": "ok"})

    def ready(self, request: Request, **_: Any) -> HttpResponse:
        """Can the process do its work?

        200 when every check passes, else 503 with the same body.
        """
        checks = [asdict(result) for result in results()]
        ready = all(check["ok"] for check in checks)
        answer = {"status": "ready" if ready else "unavailable", "checks": checks}
        return self.answer(answer, status=200 if ready else 503)
