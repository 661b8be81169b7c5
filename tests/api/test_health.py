"""Alive is not ready."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from keeptrusts_runners.api import health
from tests.api.conftest import call

pytestmark = pytest.mark.usefixtures("routes")


@pytest.fixture(autouse=True)
def _platform_checks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_checks", {})
    health.register_platform_checks()


def test_ready_names_each_check() -> None:
    answer = call("GET", "/readyz")
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "status": "ready",
        "checks": [
            {"name": "database", "ok": True, "detail": "ok"},
            {"name": "migrations", "ok": True, "detail": "ok"},
        ],
    }


def test_without_a_database_alive_but_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("connection to server at 10.0.0.5 failed")

    connection.close()
    monkeypatch.setattr(connection, "ensure_connection", refuse)
    assert call("GET", "/healthz").json() == {"status": "ok"}
    answer = call("GET", "/readyz")
    assert answer.status_code == 503
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["checks"][0] == {
        "name": "database",
        "ok": False,
        "detail": "Database unavailable.",
    }
    assert "10.0.0.5" not in answer.content.decode()


def test_the_domain_adds_its_own_checks() -> None:
    def missing() -> None:
        raise health.NotReadyError("The partition of next month is missing.")

    health.register("partitions", missing)
    answer = call("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["checks"][-1] == {
        "name": "partitions",
        "ok": False,
        "detail": "The partition of next month is missing.",
    }
