"""The base of every API view: authenticate, then one transaction in one organization.

A view declares as data what each of its actions needs and takes; the permission, the reader of
parameters and bodies, and the schema all read the same declarations. An action that declares no
scope is denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from keeptrusts_runners.api import body, etag, negotiation, problems, refusals, strict_json
from keeptrusts_runners.api.answers import JSON, json_answer
from keeptrusts_runners.api.authentication import BearerAuthentication, bearer_token
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.filters import StrictFilterSet, check_parameters
from keeptrusts_runners.api.inputs import InputShape
from keeptrusts_runners.api.pagination import PAGE_PARAMETERS
from keeptrusts_runners.api.permissions import Requirement, ScopePermission
from keeptrusts_runners.errors import DomainError, MethodNotAllowed
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope

Handler = Callable[..., HttpResponseBase]
Output = type[BaseSerializer[Any]] | None


class DeclaredViewSet(ViewSetMixin, APIView):
    """What public and protected views share. Every mapping is from action to declaration."""

    # What the action's body must be; `self.body()` reads it.
    inputs: ClassVar[Mapping[str, type[InputShape]]] = {}
    # What the action answers, for the schema: one shape, or one per status of success; paginated
    # actions answer a page of it.
    outputs: ClassVar[Mapping[str, Output | Mapping[int, Output]]] = {}
    # The statuses of success, where it is not 201 for `create`, 204 for `destroy`, else 200.
    statuses: ClassVar[Mapping[str, int | tuple[int, ...]]] = {}
    # Bodies besides JSON, for the schema: media type to JSON schema.
    bodies: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    # Query parameters: a filter set, further names with their JSON schema, and pagination.
    # A schema with `"in": "header"` describes a header instead.
    filters: ClassVar[Mapping[str, type[StrictFilterSet]]] = {}
    parameters: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    paginated_actions: ClassVar[frozenset[str]] = frozenset({"list"})
    # Members that a page has besides `items` and `next_cursor`: action to name to JSON schema.
    page_members: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    # Actions that answer an ETag (GET) or honour If-Match (PUT, PATCH, DELETE).
    tagged_actions: ClassVar[frozenset[str]] = frozenset()
    # Errors besides the usual ones, and examples, for the schema.
    refuses: ClassVar[Mapping[str, tuple[type[DomainError], ...]]] = {}
    examples: ClassVar[Mapping[str, tuple[Example, ...]]] = {}
    # The title of the view's section in the schema.
    tag: ClassVar[str] = ""

    max_body_bytes: ClassVar[int | Mapping[str, int]] = strict_json.MAX_BYTES
    media_types: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    authentication_classes = []
    permission_classes = []
    throttle_classes = []

    action: str | None  # type: ignore[assignment]  # None for a method that has none
    principal: Principal | None = None
    # The negotiated media type: one of `media_types` for the action, else JSON.
    media_type: str = JSON

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.args, self.kwargs = args, kwargs
        self.headers: dict[str, str] = {}
        self.request: Request = self.initialize_request(request, *args, **kwargs)
        try:
            response = self.respond(self.handler(), *args, **kwargs)
        except Exception as error:
            response = self.refusal(error)
        return self.finalize_response(self.request, cast(Any, response), *args, **kwargs)

    def handler(self) -> Handler:
        """The bound method for this request. Raises MethodNotAllowed, whoever asks."""
        if self.request.method == "OPTIONS":
            return self.options
        if self.action is None:
            raise MethodNotAllowed(allow=self.allow())
        return cast(Handler, getattr(self, self.action))

    def allow(self) -> str:
        return ", ".join(sorted({"OPTIONS", *(method.upper() for method in self.action_map)}))

    def options(  # type: ignore[override]  # DRF's own answers describe; ours does not
        self, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Says which methods there are; other origins get no leave from it."""
        return HttpResponse(status=204, headers={"Allow": self.allow()})

    def respond(self, handler: Handler, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.request.method != "OPTIONS":
            self.initial(self.request, *args, **kwargs)
        return handler(self.request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before the handler: access, then what can be read of the request without its body."""
        self.check_permissions(request)
        self.check_throttles(request)
        offered = self.media_types.get(self.action or "", (JSON,))
        self.media_type = negotiation.choose(request.META.get("HTTP_ACCEPT"), offered)
        check_parameters(request, self.known_parameters())

    def known_parameters(self) -> set[str]:
        """The query parameters of this action; every other is a 400."""
        action = self.action or ""
        declared = self.parameters.get(action, {})
        known = {name for name, schema in declared.items() if schema.get("in") != "header"}
        if action in self.filters:
            known |= self.filters[action].base_filters.keys()
        if action in self.paginated_actions:
            known |= PAGE_PARAMETERS
        return known

    def refusal(self, error: Exception) -> HttpResponseBase:
        """The answer for an exception. By now the request's transaction is rolled back."""
        problem = problems.as_domain_error(error)
        refusals.record(self.principal, self.request._request, problem)
        return problems.exception_handler(problem, {"request": self.request})

    # --- for handlers ------------------------------------------------------------------------

    def body_limit(self) -> int:
        limit = self.max_body_bytes
        if isinstance(limit, Mapping):
            return limit.get(self.action or "", strict_json.MAX_BYTES)
        return limit

    def document(self) -> Any:
        """The JSON body as it came, once read by the strict reader."""
        return body.read_json(self.request._request, self.body_limit())

    def body(
        self,
        shape: type[InputShape] | None = None,
        *,
        current: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> dict[str, Any]:
        """The validated body: of the action's declared shape, or of another one.

        `current` is the object as GET gives it: its other members may be sent back unchanged.
        """
        shape = shape or self.inputs[self.action or ""]
        return shape.read(self.document(), current=current, **context)

    def filtered(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrowed by the action's filter set. Raises InvalidParameter."""
        return self.filters[self.action or ""].apply(self.request, queryset)

    def require_match(self, tag: str) -> None:
        """Honour If-Match; see etag.require_match."""
        etag.require_match(self.request, tag)

    def answer(
        self,
        data: Any = None,
        status: int = 200,
        tag: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """A JSON answer; with `tag`, one that GET may answer with 304. None with 204 is empty."""
        if tag is None:
            if status == 204:
                return HttpResponse(status=204, headers=headers)
            return json_answer(data, status, headers)
        tagged = {"ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
        is_read = self.request.method in ("GET", "HEAD")
        if is_read and etag.is_unchanged(self.request, tag):
            return HttpResponse(status=304, headers=tagged)
        return json_answer(data, status, tagged)


class PublicViewSet(DeclaredViewSet):
    """For the few routes without a bearer: tokens, keys."""


class ApiViewSet(DeclaredViewSet):
    """One principal, one organization, one transaction for the whole request.

    The transaction opens before the principal is looked up and closes after the handler; every
    refusal, raised or answered, rolls it back. Actions in `non_atomic_actions` (uploads, streams)
    authenticate in a transaction of their own and open what they need with
    `self.organization_scope()`.
    """

    scopes: ClassVar[Mapping[str, Requirement]] = {}
    session_token_actions: ClassVar[frozenset[str]] = frozenset()
    non_atomic_actions: ClassVar[frozenset[str]] = frozenset()

    authentication_classes = [BearerAuthentication]
    permission_classes = [ScopePermission]

    principal: Principal
    bearer: tokens.Claims

    def respond(self, handler: Handler, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.request.method == "OPTIONS":
            return handler(self.request, *args, **kwargs)
        self.bearer = tokens.verify(bearer_token(self.request))
        with organization_scope(self.bearer.organization_id):
            self.identify(tokens.resolve(self.bearer))
            if self.action not in self.non_atomic_actions:
                response = super().respond(handler, *args, **kwargs)
                if response.status_code >= 400:
                    transaction.set_rollback(True)
                return response
        return super().respond(handler, *args, **kwargs)

    def identify(self, principal: Principal) -> None:
        self.principal = principal
        audit.acting(principal.actor)
        self.request.user = cast(Any, principal)
        self.request._request.principal = principal  # type: ignore[attr-defined]

    def organization_scope(self) -> AbstractContextManager[None]:
        """A transaction of this request's organization, for non-atomic actions."""
        return organization_scope(self.principal.organization_id)

    @property
    def organization_id(self) -> UUID:
        return self.principal.organization_id
