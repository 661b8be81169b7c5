"""/v1/runners/executors: who claims, and what operators decide about them."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.identity.scopes import Scope
from profiles.serializers import NothingIn
from sessions import evictions, executors
from sessions.executor_models import RunnerExecutor
from sessions.executor_serializers import DrainIn, EvictIn, ExecutorOut
from sessions.filters import ExecutorFilters


class ExecutorViewSet(ApiViewSet):
    """Executors: recorded from their claims, drained and evicted by operators."""

    tag = "Executors"
    scopes: ClassVar = {
        "list": Scope.READ,
        "retrieve": Scope.READ,
        "drain": Scope.WRITE,
        "undrain": Scope.WRITE,
        "evict": Scope.WRITE,
    }
    inputs: ClassVar = {"drain": DrainIn, "undrain": NothingIn, "evict": EvictIn}
    outputs: ClassVar = dict.fromkeys(scopes, ExecutorOut)
    filters: ClassVar = {"list": ExecutorFilters}
    tagged_actions: ClassVar = frozenset({"retrieve"})
    examples: ClassVar = {
        "evict": (Example("A host that cannot be trusted", request={"reason": "Disk errors"}),)
    }

    def list(self, request: Request) -> HttpResponse:
        """List executors, the newest first."""
        rows, cursor = page(self.filtered(executors.listed(by=self.principal)), request)
        return self.answer(list_answer(executors.standings(rows), cursor, ExecutorOut))

    def retrieve(self, request: Request, executor_id: UUID) -> HttpResponse:
        """Get one executor. Being seen again does not change its ETag."""
        (standing,) = executors.standings([executors.one(executor_id, by=self.principal)])
        told = ExecutorOut.render(standing)
        lasting = {name: value for name, value in told.items() if name != "last_seen_at"}
        return self.answer(told, tag=etag.strong(executor_id, lasting))

    def drain(self, request: Request, executor_id: UUID) -> HttpResponse:
        """Drain an executor: its claims are refused, what it holds goes on.

        Again is the same answer, and the first reason stands.
        """
        return self._answer(evictions.drain(executor_id, by=self.principal, **self.body()))

    def undrain(self, request: Request, executor_id: UUID) -> HttpResponse:
        """Let a drained or evicted executor claim again."""
        self.body()
        return self._answer(evictions.undrain(executor_id, by=self.principal))

    def evict(self, request: Request, executor_id: UUID) -> HttpResponse:
        """Evict an executor: drain it, and end its leases now.

        Each of its sessions is tried again, paused or lost, as if its lease had run out; grants
        end with the lease. At most 200 at once: repeat it while `sessions_held` is not 0.
        """
        return self._answer(evictions.evict(executor_id, by=self.principal, **self.body()))

    def _answer(self, executor: RunnerExecutor) -> HttpResponse:
        (standing,) = executors.standings([executor])
        return self.answer(ExecutorOut.render(standing))
