"""What is routed, what is published, and what the table of expected verdicts knows: the same."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners.api.schema import build_document
from tests.contract.routes import PAGES, PUBLIC_OPERATIONS, TABLE, routed

_SEED = """
GET /v1/runners/profiles
POST /v1/runners/profiles
GET /v1/runners/profiles/{profile_id}
PUT /v1/runners/profiles/{profile_id}
DELETE /v1/runners/profiles/{profile_id}
GET /v1/runners/profiles/{profile_id}/harnesses
GET /v1/runners/profiles/{profile_id}/harnesses/latest
POST /v1/runners/profiles/{profile_id}/harnesses
GET /v1/runners/sessions
POST /v1/runners/sessions
GET /v1/runners/sessions/{session_id}
PATCH /v1/runners/sessions/{session_id}
POST /v1/runners/sessions/{session_id}/claim
POST /v1/runners/sessions/{session_id}/heartbeat
POST /v1/runners/sessions/{session_id}/checkpoint
POST /v1/runners/sessions/{session_id}/resume
POST /v1/runners/sessions/{session_id}/cancel
GET /v1/runners/sessions/{session_id}/events
POST /v1/runners/sessions/{session_id}/events
GET /v1/runners/sessions/{session_id}/artifacts
POST /v1/runners/sessions/{session_id}/artifacts
GET /v1/runners/sessions/{session_id}/permissions
POST /v1/runners/sessions/{session_id}/permissions
DELETE /v1/runners/sessions/{session_id}/permissions/{grant_id}
"""


def _routed_operations() -> set[str]:
    operations = set()
    for path, callback in routed().items():
        if path in PAGES:
            continue
        actions = getattr(callback, "actions", None) or _plain(path)
        operations |= {f"{method.upper()} {path}" for method in actions}
    return operations - {name for name in operations if name.startswith(("HEAD ", "OPTIONS "))}


def _plain(path: str) -> list[str]:
    """Views without actions say nothing of their methods: the table has to."""
    return [name.partition(" ")[0] for name in PUBLIC_OPERATIONS if name.endswith(f" {path}")]


def _published_operations(document: dict[str, Any]) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    }


@pytest.mark.proves("api.published")
def test_the_table_has_every_route_and_no_other() -> None:
    assert _routed_operations() == {route.name for route in TABLE} | PUBLIC_OPERATIONS


@pytest.mark.proves("api.published")
def test_the_published_document_has_every_route_and_no_other() -> None:
    assert _published_operations(build_document()) == _routed_operations()


def test_every_route_of_the_seed_is_there() -> None:
    seed = set(_SEED.split("\n")) - {""}
    assert len(seed) == 24
    assert seed <= {route.name for route in TABLE}


@pytest.mark.proves("api.published")
def test_the_published_scopes_are_those_of_the_table() -> None:
    paths = build_document()["paths"]
    for route in TABLE:
        published = paths[route.template][route.method.lower()]["security"]
        expected = [{"bearer": [scope]} for scope in route.opened_by] or [{"bearer": []}]
        assert published == expected, route.name
