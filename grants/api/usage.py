"""/v1/runners/usage: how much is stored, and of how much."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from grants import usage
from grants.usage_serializers import UsageOut
from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import TypeIDFilter, invalid
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.identity.scopes import Scope


class UsageViewSet(ApiViewSet):
    """What whoever pays for the disks looks at."""

    tag = "Artifacts"
    scopes: ClassVar = {"usages": Scope.READ}
    outputs: ClassVar = {"usages": UsageOut}
    parameters: ClassVar = {"usages": {"profile_id": TypeIDFilter("prof").openapi}}

    def usages(self, request: Request) -> HttpResponse:
        """Get how many bytes and artifacts the organization has stored, and each of its profiles.

        The organization's bytes are those of its store, the same content once, beside its quota; a
        profile's are the sum of what its sessions have, beside its limit. At most 1,000 profiles,
        the largest first: those in use, and archived ones that still have content. What was
        removed is not counted, nor an upload that is not whole yet.
        """
        found = usage.usages(by=self.principal, profile_id=_profile_id(request))
        return self.answer(UsageOut.render(found))


def _profile_id(request: Request) -> UUID | None:
    given = request.GET.get("profile_id")
    try:
        return None if given is None else ids.decode("prof", given)
    except ValueError:
        raise invalid("profile_id", "must be an id of the form prof_….") from None
