"""/v1/runners/permissions/introspect and revoke, and /v1/runners/authority: grants wherever they
are, for enforcement points, responders and auditors."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from grants import authority, introspection, revocations
from grants.authority_serializers import (
    AuthorityOut,
    IntrospectIn,
    IntrospectOut,
    RevokedOut,
    RevokeIn,
)
from grants.filters import AuthorityFilters
from grants.serializers import grant_out
from keeptrusts_runners import clock
from keeptrusts_runners.api import body
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import PermissionDenied
from keeptrusts_runners.identity.scopes import Scope

_FORM_FIELDS = {
    "token": "a grant token, or a grant's id",
    "token_type_hint": "not needed",
}


class AuthorityViewSet(ApiViewSet):
    """Grants of the whole organization: may it be done now, who could do it then, and an end."""

    tag = "Permission grants"
    scopes: ClassVar = {
        "introspect": (Scope.INTROSPECT, Scope.READ),
        "revoke": Scope.WRITE,
        "authority": Scope.AUDIT,
    }
    inputs: ClassVar = {"introspect": IntrospectIn, "revoke": RevokeIn}
    bodies: ClassVar = {"introspect": body.form_schema("token", _FORM_FIELDS)}
    outputs: ClassVar = {
        "introspect": IntrospectOut,
        "revoke": RevokedOut,
        "authority": AuthorityOut,
    }
    filters: ClassVar = {"authority": AuthorityFilters}
    parameters: ClassVar = {
        "authority": {
            "at": {
                "type": "string",
                "format": "date-time",
                "description": "The instant, not one to come; left out: now.",
            }
        }
    }
    paginated_actions: ClassVar = frozenset({"authority"})
    refuses: ClassVar = {"revoke": (PermissionDenied,)}
    examples: ClassVar = {
        "revoke": (
            Example(
                "Nobody writes to production any more",
                request={"operation": "database.write*", "reason": "Incident 42"},
            ),
        )
    }

    def introspect(self, request: Request) -> HttpResponse:
        """Ask whether a grant is in force, as JSON or in the form of RFC 7662.

        By `grant_id`, or by `token`, which is a grant token or an id. What is not in force is
        `{"active": false}` and nothing else, whatever the reason and whoever's it is. Nothing is
        recorded and nothing used up: `use` does that.
        """
        asked = self._asked(request)
        if "token" in asked:
            found = introspection.of_token(asked["token"], by=self.principal)
        else:
            found = introspection.of_grant(asked["grant_id"], by=self.principal)
        return self.answer(found)

    def _asked(self, request: Request) -> dict[str, Any]:
        if body.content_type(request._request) != body.FORM:
            return self.body()
        form = body.read_form(request._request)
        # Clients of RFC 7662 send more than they need to.
        asked = {name: form[name] for name in ("grant_id", "token") if name in form}
        return IntrospectIn.read(asked)

    def revoke(self, request: Request) -> HttpResponse:
        """Revoke all grants and requests of an operation, a profile or an executor.

        What is named must all fit. At most 100 at once: repeat it while `more` is true.
        """
        ended, more = revocations.revoke_all(by=self.principal, **self.body())
        now = clock.now()
        return self.answer({"items": [grant_out(grant, now) for grant in ended], "more": more})

    def authority(self, request: Request) -> HttpResponse:
        """List who could do what at an instant, and on whose decision.

        The grants that were in force then, by the record: the newest first.
        """
        text, now = request.GET.get("at"), clock.now()
        try:
            instant = parse_instant(text) if text else now
        except ValueError:
            raise invalid("at", "must be an instant such as 2026-05-01T09:30:00Z.") from None
        if instant > now:
            raise invalid("at", "is yet to come.")
        rows = self.filtered(authority.at(self.organization_id, instant))
        found, cursor = page(rows, request, order=authority.ORDER)
        return self.answer(list_answer(found, cursor, AuthorityOut))
