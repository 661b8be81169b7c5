"""Making the calls of the table, and what every answer must look like."""

from __future__ import annotations

import json
import re
from typing import Any

from django.apps import apps

from keeptrusts_runners import env, errors, ids
from keeptrusts_runners.identity import tokens
from sessions import queries
from tests.contract.routes import Objects, Route
from tests.people import Api, Machine, Org

PRODUCT_APPS = ("identity", "evidence", "api", "profiles", "runner_sessions", "grants")
_LEAKS = re.compile(
    r"Traceback|File \"|\.py\"|psycopg|django\.|\bSELECT\b.+\bFROM\b|INSERT INTO|UPDATE \"|"
    r"relation \"|DETAIL:|violates|runner_(session|profile|event|grant)\b|/tmp/|"
    + re.escape(str(env.BASE_DIR))
)


def call(api: Api, route: Route, objects: Objects, **headers: str) -> Any:
    """The table's request, by this bearer."""
    if route.raw is not None:
        headers = {"Content-Type": "text/plain", **route.headers, **headers}
        return api.request(route.method, route.address(objects), raw=route.raw, **headers)
    return api.request(route.method, route.address(objects), objects.body, **headers)


def session_token(org: Org, objects: Objects, holder: Machine | None = None) -> str:
    """The token of the present lease of the session in the path."""
    session_id = ids.decode("sess", objects.path["session_id"])
    by = (holder or org.runner).principal
    with org.scope():
        epoch = queries.session(session_id, by=by).lease_epoch
    return tokens.issue_session(session_id, by, epoch or 1, 60)


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal, once its shape is checked. Fails for any other answer."""
    assert answer.status_code == status, (answer.status_code, answer.content[:500])
    assert answer["Content-Type"] == "application/problem+json", answer.content[:500]
    document: dict[str, Any] = json.loads(answer.content)
    assert {"type", "title", "status", "detail", "code", "request_id"} <= document.keys()
    assert document["status"] == status
    registered = {error.code: error.type_uri for error in errors.catalogue()}
    page = f"/v1/docs/errors/{document['code']}"
    assert document["type"] == (registered[document["code"]] or page)
    assert document["request_id"] == answer["X-Request-Id"]
    assert all(isinstance(document[name], str) and document[name] for name in ("title", "detail"))
    for item in document.get("errors", ()):
        assert set(item) == {"pointer", "code", "detail"}, item
    assert not _LEAKS.search(answer.content.decode()), answer.content
    if status in (401, 403):
        assert answer["WWW-Authenticate"].startswith('Bearer realm="keeptrusts-runners"')
    if status in (429, 503):
        assert int(answer["Retry-After"]) >= 1
    assert answer["Cache-Control"] == "no-store"
    if code is not None:
        assert document["code"] == code, document
    return document


def stored(org: Org) -> dict[str, int]:
    """How many rows of each table the organization has, but for what is kept of refusals, and of
    bytes that are collected when nobody names them."""
    with org.scope():
        return {
            model._meta.db_table: model._default_manager.count()
            for label in PRODUCT_APPS
            for model in apps.get_app_config(label).get_models()
            if model.__name__ not in ("User", "Organization", "Refusal", "Denial", "StoredBlob")
        }
