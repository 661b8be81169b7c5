"""/v1/runners/profiles/{id}/harnesses/{id}/recall: below profiles in the address, above them in
the code, since it tells of sessions and may cancel them."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.identity.scopes import Scope
from sessions import harness_recalls
from sessions.serializers import RecallIn, RecallOut


class HarnessRecallViewSet(ApiViewSet):
    """Taking a harness revision out of use."""

    tag = "Harness revisions"
    scopes: ClassVar = {"recall": Scope.WRITE}
    inputs: ClassVar = {"recall": RecallIn}
    outputs: ClassVar = {"recall": RecallOut}
    examples: ClassVar = {
        "recall": (
            Example(
                "A defect: stop what is open as well",
                request={"reason": "Writes outside of its sandbox", "cancel_sessions": True},
            ),
        )
    }

    def recall(self, request: Request, profile_id: UUID, harness_id: UUID) -> HttpResponse:
        """Recall a harness revision.

        Nothing that is pinned to it is claimed any more; leases go on, unless `cancel_sessions`
        asks to cancel what is open. Names the newest 200 sessions that were pinned to it, and
        cancels at most 200. Again is the same answer, and the first reason stands.
        """
        found = harness_recalls.recall(profile_id, harness_id, by=self.principal, **self.body())
        return self.answer(RecallOut.render(found))
