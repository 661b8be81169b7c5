"""What operators do to one session: each a form that is sent, and back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import Invalid, NotFound
from keeptrusts_runners.identity.scopes import Scope
from sessions import amendments, lifecycle, queries, retries, transitions
from sessions.forms import CancelForm, DispositionForm, EditForm, RetryForm
from sessions.models import Checkpoint, Disposition, RunnerSession
from sessions.pages import contents, offers
from sessions.pages.frame import frame
from sessions.serializers import AmendIn
from sessions.states import State, Verb


@page(Scope.WRITE, methods=("GET", "POST"))
def cancel(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/cancel`: say why, then do it."""
    form = CancelForm(_sent(request))
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        session = lifecycle.cancel(session_id, by=request.principal, reason=reason)
        done = session.state == State.CANCELLED
        flash = "Session cancelled." if done else "Cancellation requested; the executor is told."
        return _back(request, session_id, flash)
    session = queries.detail(session_id, by=request.principal)
    transitions.require(session, Verb.CANCEL)
    active = grant_queries.active_grants([session.id]).get(session.id, 0)
    return _ask(request, session, "Cancel", "cancel", form, active_grants=active)


@page(Scope.WRITE, methods=("GET", "POST"))
def force(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/force`: end a lease whose executor does not answer."""
    form = CancelForm(_sent(request))
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        lifecycle.cancel(session_id, by=request.principal, reason=reason, force=True)
        return _back(request, session_id, "Session cancelled, without its executor.")
    session = queries.detail(session_id, by=request.principal)
    if not offers.may_be_forced(session):
        raise transitions.refusal(session, "It has not been asked to end.")
    return _ask(request, session, "Force cancel", "force", form)


@page(Scope.WRITE, methods=("GET", "POST"))
def retry(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/retry`: the same task as a new session, from the beginning
    or from the checkpoint whose number is `?checkpoint=`."""
    session = queries.detail(session_id, by=request.principal)
    form = RetryForm(_sent(request), initial=request.GET.dict())
    start = _start(session, form["checkpoint"].value())
    if form.is_valid():
        made = retries.retry(
            session_id,
            by=request.principal,
            same_harness=form.cleaned_data["same_harness"],
            checkpoint_id=start.id if start else None,
            reason=form.cleaned_data["reason"],
        )
        return _back(request, made.id, "A new session runs the task again.")
    if not session.is_final:
        raise transitions.refusal(session, f"A {session.state} session is not over yet.")
    made_before = queries.newest_retry(session_id, by=request.principal)
    return _ask(request, session, "Retry", "retry", form, retried_as=made_before, start=start)


def _start(session: RunnerSession, number: Any) -> Checkpoint | None:
    """Raises NotFound for a checkpoint that the session does not have."""
    if number in (None, ""):
        return None
    if not str(number).isdecimal():
        raise NotFound
    return contents.one_checkpoint(session, int(number))


@page(Scope.WRITE, methods=("GET", "POST"))
def disposition(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/disposition`: what is to become of a lost session."""
    form = DispositionForm(_sent(request))
    if form.is_valid():
        given = form.cleaned_data | {"decision": Disposition(form.cleaned_data["decision"])}
        retries.decide(session_id, by=request.principal, **given)
        made = queries.newest_retry(session_id, by=request.principal)
        if made and given["decision"] == Disposition.RETRY:
            return _back(request, made, "Decided: this session runs the task again.")
        return _back(request, session_id, f"Decided: {given['decision']}.")
    session = queries.detail(session_id, by=request.principal)
    if not offers.may_be_decided(session):
        raise transitions.refusal(session, "There is nothing to decide.")
    return _ask(request, session, "Decide outcome", "disposition", form)


@page(Scope.WRITE, methods=("GET", "POST"))
def edit(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/edit`: labels, priority and the deadline."""
    session = queries.detail(session_id, by=request.principal)
    now = {"priority": session.priority, "labels": session.labels}
    form = EditForm(_sent(request), initial=now)
    fields = form.read(AmendIn.read) if form.is_bound else None
    if fields is not None:
        changes = {name: value for name, value in fields.items() if now.get(name) != value}
        try:
            with transaction.atomic():
                amendments.amend(session_id, changes, by=request.principal)
            return _back(request, session_id, "Changes saved.")
        except Invalid as refused:
            form.refuse(refused)
    return _ask(request, session, "Edit", "edit", form)


@page(Scope.WRITE, methods=("POST",))
def pause(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/pause`."""
    session = lifecycle.pause(session_id, by=request.principal)
    done = session.state == State.PAUSED
    flash = "Session paused." if done else "Pause requested; the executor is told."
    return _back(request, session_id, flash)


@page(Scope.WRITE, methods=("POST",))
def resume(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/resume`: back into the queue, or no pause after all;
    `checkpoint_id` names one to go on from that is not the last."""
    checkpoint_id = _checkpoint_id(request)
    session = lifecycle.resume(session_id, by=request.principal, checkpoint_id=checkpoint_id)
    queued = session.state == State.PENDING
    return _back(request, session_id, "Session queued again." if queued else "Pause withdrawn.")


def _checkpoint_id(request: Page) -> UUID | None:
    named = request.POST.get("checkpoint_id")
    try:
        return ids.decode("ckpt", named) if named else None
    except ValueError:
        raise NotFound from None


def _sent(request: Page) -> QueryDict | None:
    """None where the form is only looked at: an empty one that is sent is sent, too."""
    return request.POST if request.method == "POST" else None


def _ask(
    request: Page, session: RunnerSession, name: str, template: str, form: forms.Form, **more: Any
) -> HttpResponse:
    """The form, again with what was typed where it was refused."""
    context = {**frame(session, name), "form": form, **more}
    status = 422 if form.errors else 200
    return render(request, f"runners/sessions/{template}.html", context, status=status)


def _back(request: Page, session_id: UUID, flash: str) -> HttpResponse:
    to = reverse("session", args=[session_id])
    return see_other(to, request=request, flash=flash, level=messages.SUCCESS)
