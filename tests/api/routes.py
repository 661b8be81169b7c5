"""Routes over the one table that the plumbing has, for tests of the plumbing alone."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework import serializers
from rest_framework.request import Request

from keeptrusts_runners import clock, errors, ids
from keeptrusts_runners.api import etag, filters, inputs
from keeptrusts_runners.api.answers import json_answer
from keeptrusts_runners.api.converters import register_all
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.permissions import AUTHENTICATED
from keeptrusts_runners.api.shapes import InstantOut, OutputShape
from keeptrusts_runners.api.views import ApiViewSet, PublicViewSet
from keeptrusts_runners.identity.scopes import Scope

register_all()


class NoteInput(inputs.InputShape):
    name = inputs.Text(max_length=100)
    labels = inputs.Labels(required=False)


class NoteOut(OutputShape):
    id = serializers.IntegerField()
    name = serializers.CharField(source="key")
    labels = serializers.DictField(source="headers")
    created_at = InstantOut()


class NoteFilter(filters.StrictFilterSet):
    status = filters.WordsFilter(["200", "201"], field_name="status")
    owner_id = filters.TypeIDFilter("user", field_name="organization_id")
    created_after = filters.InstantFilter(field_name="created_at", lookup_expr="gt")
    min_status = filters.IntegerFilter(field_name="status", lookup_expr="gte", maximum=999)
    name = filters.TextFilter(field_name="key", max_length=20)
    label = filters.LabelFilter(field_name="headers")

    class Meta:
        model = IdempotencyKey
        fields: ClassVar[list[str]] = []


def note(view: ApiViewSet, name: str, **fields: Any) -> IdempotencyKey:
    """A row that stands for any object: the name is its key."""
    return IdempotencyKey.objects.create(
        organization_id=view.organization_id,
        principal="test",
        route="note",
        key=name,
        body_digest=b"",
        body=b"",
        **{"status": 200, **fields},
    )


class NoteViewSet(ApiViewSet):
    """Objects of the test."""

    tag = "Notes"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.DISPATCH,
        "credentials": Scope.DISPATCH,
        "retrieve": Scope.READ,
        "update": Scope.WRITE,
        "destroy": Scope.WRITE,
        "either": (Scope.INTROSPECT, Scope.READ),
        "anybody": AUTHENTICATED,
        "fail": AUTHENTICATED,
        "stream": Scope.WRITE,
    }
    session_token_actions: ClassVar = frozenset({"either", "stream"})
    non_atomic_actions: ClassVar = frozenset({"stream"})
    inputs: ClassVar = {"create": NoteInput, "update": NoteInput, "credentials": NoteInput}
    outputs: ClassVar = {
        "list": NoteOut,
        "create": NoteOut,
        "retrieve": NoteOut,
        "stream": {200: NoteOut, 202: None},
    }
    filters: ClassVar = {"list": NoteFilter}
    parameters: ClassVar = {
        "list": {"order": {"type": "string", "description": "Columns, separated by commas."}},
        "fail": {"how": {"type": "string"}},
        "stream": {"Lease-Epoch": {"type": "integer", "in": "header"}},
    }
    statuses: ClassVar = {"credentials": 201, "stream": (200, 202, 204)}
    tagged_actions: ClassVar = frozenset({"retrieve", "update"})
    refuses: ClassVar = {"create": (errors.AlreadyExists,)}
    max_body_bytes: ClassVar = {"update": 100}
    examples: ClassVar = {"create": (Example("A note", request={"name": "first"}),)}

    def list(self, request: Request, **_: Any) -> HttpResponse:
        """List the notes."""
        order = request.GET.get("order", "-id").split(",")
        notes = self.filtered(IdempotencyKey.objects.filter(route="note"))
        rows, next_cursor = page(notes, request, order=order)
        return self.answer(list_answer(rows, next_cursor, NoteOut))

    @idempotent
    def create(self, request: Request, **_: Any) -> HttpResponse:
        """Make a note.

        Its name is its key.
        """
        data = self.body()
        made = note(self, data["name"], headers=data.get("labels", {}))
        made.refresh_from_db()
        return self.answer(NoteOut.render(made), status=201, headers={"Location": f"/{made.id}"})

    @idempotent(credentials=True)
    def credentials(self, request: Request, **_: Any) -> HttpResponse:
        made = note(self, self.body()["name"])
        return self.answer({"id": str(made.id), "secret": "s3cret"}, status=201)

    def retrieve(self, request: Request, number: int, **_: Any) -> HttpResponse:
        """Read a note."""
        found = IdempotencyKey.objects.get(id=number, route="note")
        return self.answer(NoteOut.render(found), tag=self.tag_of(found))

    def update(self, request: Request, number: int, **_: Any) -> HttpResponse:
        """Rename a note."""
        found = IdempotencyKey.objects.get(id=number, route="note")
        self.require_match(self.tag_of(found))
        self.body(current=NoteOut.render(found))
        return self.answer(NoteOut.render(found), tag=self.tag_of(found))

    def destroy(self, request: Request, number: int, **_: Any) -> HttpResponse:
        IdempotencyKey.objects.filter(id=number).delete()
        return self.answer(status=204)

    def tag_of(self, found: IdempotencyKey) -> str:
        return etag.strong(UUID(int=found.id), found.key)

    def either(self, request: Request, **_: Any) -> HttpResponse:
        return self.answer({"actor": self.principal.actor})

    def anybody(self, request: Request, **_: Any) -> HttpResponse:
        self.body(NoteInput)
        return self.answer({})

    def undeclared(self, request: Request, **_: Any) -> HttpResponse:
        return self.answer({})

    def stream(self, request: Request, **_: Any) -> HttpResponse:
        assert not transaction.get_connection().in_atomic_block
        with self.organization_scope():
            note(self, str(ids.new()))
        return self.answer({"visible": IdempotencyKey.objects.count()})

    def fail(self, request: Request, **_: Any) -> HttpResponse:
        """Write something, then fail in the named way."""
        note(self, str(ids.new()))
        return FAILURES[request.GET["how"]]()


def _raise(error: Exception) -> Any:
    def fail() -> HttpResponse:
        raise error

    return fail


def _division() -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    return HttpResponse()


def _nul() -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text", ["a\x00b"])
    return HttpResponse()


FAILURES: dict[str, Any] = {
    "domain": _raise(errors.StateConflict(current_state="running", allowed_verbs=["cancel"])),
    "answered": lambda: json_answer({}, status=409),
    "http404": _raise(Http404("the secret table")),
    "missing": _raise(IdempotencyKey.DoesNotExist("the secret table")),
    "operational": _raise(OperationalError("connection to server at 10.0.0.5 failed")),
    "data": _raise(DataError("value too long")),
    "division": _division,
    "nul": _nul,
    "integrity": _raise(IntegrityError("duplicate key secret_table_key")),
    "bug": _raise(RuntimeError("secret detail")),
    "validation": _raise(serializers.ValidationError({"a": [{}, {"b": ["no"]}]})),
}


class OpenViewSet(PublicViewSet):
    def list(self, request: Request, **_: Any) -> HttpResponse:
        return self.answer({"items": [], "next_cursor": None})


def plain(request: HttpRequest) -> HttpResponse:
    if "bug" in request.GET:
        raise RuntimeError("secret detail")
    if "domain" in request.GET:
        raise errors.TooManyRequests(retry_after=7)
    return json_answer({"cookies": len(request.COOKIES), "now": clock.rfc3339(None)})


urlpatterns = [
    path("v1/notes", NoteViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "v1/notes/<int:number>",
        NoteViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
    ),
    path("v1/notes/credentials", NoteViewSet.as_view({"post": "credentials"})),
    path("v1/notes/undeclared", NoteViewSet.as_view({"get": "undeclared"})),
    path("v1/notes/anybody", NoteViewSet.as_view({"post": "anybody"})),
    path("v1/notes/fail", NoteViewSet.as_view({"post": "fail"})),
    path("v1/sessions/<sess:session_id>/either", NoteViewSet.as_view({"get": "either"})),
    path("v1/sessions/<sess:session_id>/stream", NoteViewSet.as_view({"post": "stream"})),
    path("v1/either", NoteViewSet.as_view({"get": "either"})),
    path("v1/open", OpenViewSet.as_view({"get": "list"})),
    path("v1/plain", plain),
    path("page", plain),
    path("", include("keeptrusts_runners.api.urls")),
]
