"""/v1/runners/stats and /v1/runners/sessions/{id}/explain: how much waits, and why."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.identity.scopes import Scope
from sessions import insight, queries, refusals
from sessions.insight_serializers import ExplanationOut, RefusalOut, StatsOut


class InsightViewSet(ApiViewSet):
    """What an operator looks at first."""

    tag = "Sessions"
    scopes: ClassVar = {"stats": Scope.READ, "explain": Scope.READ, "refusals": Scope.READ}
    outputs: ClassVar = {"stats": StatsOut, "explain": ExplanationOut, "refusals": RefusalOut}
    paginated_actions: ClassVar = frozenset({"refusals"})

    def stats(self, request: Request) -> HttpResponse:
        """Get the depth of the queue, its oldest session, what is active and paused, and how many
        executors ask for work.

        In total and by profile, at most 1,000 profiles, the busiest first.
        """
        return self.answer(StatsOut.render(insight.stats(by=self.principal)))

    def explain(self, request: Request, session_id: UUID) -> HttpResponse:
        """Say why a session waits, or why it is in its state, and what may be asked of it.

        Of a pending session: its place in the order of claims, the first reason that keeps it
        waiting, who holds the slots of its profile and of its concurrency key (at most 20 are
        named), and whether any executor that asks now offers its labels.
        """
        found = insight.explain(session_id, by=self.principal)
        return self.answer(ExplanationOut.render(found))

    def refusals(self, request: Request, session_id: UUID) -> HttpResponse:
        """List what was refused for a session, newest first: claims, and writes without its lease.

        Repeats within a minute are one item with a count.
        """
        queries.session(session_id, by=self.principal)
        rows = page(refusals.of_session(session_id), request)
        return self.answer(list_answer(*rows, RefusalOut))
