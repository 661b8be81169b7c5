"""What a session was given and what it left: its input and its checkpoints."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.db.models import Func, IntegerField, TextField
from django.db.models.functions import Cast
from django.http import HttpResponse
from django.shortcuts import render

from keeptrusts_runners import ids
from keeptrusts_runners.api import pagination
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.strict_json import canonical
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries
from sessions.models import Checkpoint, RunnerSession
from sessions.pages.frame import frame
from sessions.states import State

# Beyond this a text is downloaded and not carried by a button.
COPIED_BYTES = 64 * 1024


class _Bytes(Func):
    function, output_field = "octet_length", IntegerField()


@page()
def input_tab(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/input`: what it was dispatched with."""
    session = queries.detail(session_id, by=request.principal)
    context = {**frame(session, "Input"), **_shown(session.input), "value": session.input}
    return render(request, "runners/sessions/input.html", context)


@page()
def input_file(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/input.json`: the same as a file."""
    session = queries.detail(session_id, by=request.principal)
    return _file(session.input, f"{session}-input.json")


def _shown(value: Any) -> dict[str, Any]:
    """Its size and digest as a file, and the text where a button may carry it."""
    content = canonical(value)
    return {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "text": content.decode() if len(content) <= COPIED_BYTES else None,
    }


def _file(value: Any, name: str) -> HttpResponse:
    """A download, never rendered: the name is made of ids and numbers alone."""
    response = HttpResponse(canonical(value), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


@page()
def checkpoints(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/checkpoints`: newest first, without what they hold."""
    session = queries.detail(session_id, by=request.principal)
    check_parameters(request, {"cursor", "limit"})
    size = _Bytes(Cast("data", TextField()))
    found = queries.checkpoints(session.id).defer("data").annotate(size=size)
    rows, older = pagination.page(found, request, order=("-number",))
    context = {
        **frame(session, "Checkpoints"),
        "checkpoints": rows,
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
        "resumable": _resumable(session, request),
    }
    return render(request, "runners/sessions/checkpoints.html", context)


@page()
def checkpoint(request: Page, session_id: UUID, number: int) -> HttpResponse:
    """`GET /runners/sessions/{id}/checkpoints/{n}`: one, with what it holds."""
    session = queries.detail(session_id, by=request.principal)
    found = one_checkpoint(session, number)
    context = {
        **frame(session, f"Checkpoint {number}"),
        **_shown(found.data),
        "checkpoint": found,
        "checkpoint_id": ids.encode("ckpt", found.id),
        "resumable": _resumable(session, request),
        "retryable": session.is_final and request.principal.has(Scope.WRITE),
    }
    return render(request, "runners/sessions/checkpoint.html", context)


@page()
def checkpoint_file(request: Page, session_id: UUID, number: int) -> HttpResponse:
    """`GET /runners/sessions/{id}/checkpoints/{n}.json`: what it holds as a file."""
    session = queries.detail(session_id, by=request.principal)
    return _file(one_checkpoint(session, number).data, f"{session}-checkpoint-{number}.json")


def one_checkpoint(session: RunnerSession, number: int) -> Checkpoint:
    """Raises NotFound."""
    found = None
    if number <= session.checkpoints_recorded:
        found = queries.checkpoints(session.id).filter(number=number).first()
    if found is None:
        raise NotFound
    return found


def _resumable(session: RunnerSession, request: Page) -> bool:
    return session.state == State.PAUSED and request.principal.has(Scope.WRITE)
