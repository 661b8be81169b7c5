"""/v1/runners/profiles and their harness revisions."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import AlreadyExists, Conflict, NoHarness, ProfileArchived
from keeptrusts_runners.identity.scopes import Scope
from profiles import catalog
from profiles.filters import HarnessFilters, ProfileFilters
from profiles.models import HarnessRevision, RunnerProfile
from profiles.serializers import (
    DeprecateIn,
    HarnessIn,
    HarnessOut,
    NothingIn,
    ProfileIn,
    ProfileOut,
    columns,
)


def _tag(profile: RunnerProfile) -> str:
    return etag.strong(profile.id, profile.version)


class ProfileViewSet(ApiViewSet):
    """Descriptions of execution environments."""

    tag = "Profiles"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "retrieve": Scope.READ,
        "replace": Scope.WRITE,
        "destroy": Scope.WRITE,
        "pause": Scope.WRITE,
        "unpause": Scope.WRITE,
    }
    inputs: ClassVar = {
        "create": ProfileIn,
        "replace": ProfileIn,
        "pause": NothingIn,
        "unpause": NothingIn,
    }
    outputs: ClassVar = dict.fromkeys(
        ("list", "create", "retrieve", "replace", "pause", "unpause"), ProfileOut
    )
    filters: ClassVar = {"list": ProfileFilters}
    refuses: ClassVar = {
        "create": (AlreadyExists,),
        "replace": (AlreadyExists, ProfileArchived),
        "pause": (ProfileArchived,),
        "unpause": (ProfileArchived,),
    }
    tagged_actions: ClassVar = frozenset({"retrieve", "replace", "destroy"})
    examples: ClassVar = {
        "create": (
            Example(
                "The least that is needed",
                request={
                    "name": "network-sandbox",
                    "description": "Runner profile for outbound network tasks",
                    "execution_target": "runner",
                },
            ),
        )
    }

    def list(self, request: Request) -> HttpResponse:
        """List runner profiles, newest first."""
        rows = self.filtered(RunnerProfile.objects.in_organization(self.organization_id))
        return self.answer(list_answer(*page(rows, request), ProfileOut))

    @idempotent
    def create(self, request: Request) -> HttpResponse:
        """Create a runner profile.

        Everything but name and execution target has a default: a lease of 60 s, a heartbeat
        every 15 s, one attempt.
        """
        profile = catalog.create_profile(columns(self.body()), by=self.principal)
        profile.refresh_from_db()
        return self.answer(ProfileOut.render(profile), 201, _tag(profile))

    def retrieve(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Get one runner profile."""
        profile = catalog.profile(profile_id, by=self.principal)
        return self.answer(ProfileOut.render(profile), tag=_tag(profile))

    def replace(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Replace a runner profile.

        Takes the object as GET gave it: unchanged read-only members are accepted. `limits`,
        `lease`, `retry`, `grant_policy`, `retention_days` and `artifact_retention_days` keep their
        value when left out, and are reset by null. Sessions already dispatched keep the grant
        policy they were dispatched under.
        """
        profile = catalog.for_update(profile_id, by=self.principal)
        self.require_match(_tag(profile))
        body = {"description": "", "labels": {}} | self.body(current=ProfileOut.render(profile))
        profile = catalog.replace_profile(profile, columns(body), by=self.principal)
        return self.answer(ProfileOut.render(profile), tag=_tag(profile))

    def destroy(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Archive a runner profile.

        It takes no new sessions; those that are pending still run; its history stays.
        """
        profile = catalog.for_update(profile_id, by=self.principal)
        self.require_match(_tag(profile))
        catalog.archive_profile(profile, by=self.principal)
        return self.answer(status=204)

    def pause(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Pause a runner profile.

        Nothing of it is claimed until it is unpaused; leases go on, and dispatches are taken and
        wait. Pausing again is the same answer.
        """
        self.body()
        profile = catalog.pause_profile(profile_id, by=self.principal)
        return self.answer(ProfileOut.render(profile), tag=_tag(profile))

    def unpause(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Unpause a runner profile: what waited is handed out again, in the order of the queue."""
        self.body()
        profile = catalog.unpause_profile(profile_id, by=self.principal)
        return self.answer(ProfileOut.render(profile), tag=_tag(profile))


class HarnessViewSet(ApiViewSet):
    """Immutable revisions of the code that runs inside a profile."""

    tag = "Harness revisions"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "latest": Scope.READ,
        "deprecate": Scope.WRITE,
    }
    inputs: ClassVar = {"create": HarnessIn, "deprecate": DeprecateIn}
    outputs: ClassVar = dict.fromkeys(("list", "create", "latest", "deprecate"), HarnessOut)
    filters: ClassVar = {"list": HarnessFilters}
    tagged_actions: ClassVar = frozenset({"latest"})
    refuses: ClassVar = {
        "create": (AlreadyExists, ProfileArchived),
        "latest": (NoHarness,),
        "deprecate": (Conflict,),
    }
    examples: ClassVar = {
        "create": (
            Example(
                "A tag, which can move; add @sha256:… to pin it",
                request={
                    "version": "2026.05.01",
                    "image_ref": "ghcr.io/keeptrusts/runner-harness:2026.05.01",
                },
            ),
        )
    }

    def list(self, request: Request, profile_id: UUID) -> HttpResponse:
        """List a profile's harness revisions, newest first."""
        catalog.profile(profile_id, by=self.principal)
        rows = HarnessRevision.objects.of_profile(self.organization_id, profile_id)
        return self.answer(list_answer(*page(self.filtered(rows), request), HarnessOut))

    @idempotent
    def create(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Publish a harness revision.

        It never changes. Sessions dispatched from now on are pinned to it by id and digest.
        """
        made = catalog.publish_harness(profile_id, self.body(), by=self.principal)
        made.refresh_from_db()
        return self.answer(HarnessOut.render(made), 201)

    def latest(self, request: Request, profile_id: UUID) -> HttpResponse:
        """Get the revision that a dispatch would pin now."""
        catalog.profile(profile_id, by=self.principal)
        newest = catalog.latest_harness(profile_id, by=self.principal)
        if newest is None:
            raise NoHarness
        return self.answer(HarnessOut.render(newest), tag=etag.strong(newest.id, newest.status))

    def deprecate(self, request: Request, profile_id: UUID, harness_id: UUID) -> HttpResponse:
        """Deprecate a harness revision.

        Dispatches pin it no more; sessions that are pinned to it run on. Again is the same answer.
        """
        reason = self.body().get("reason", "")
        changed = catalog.deprecate_harness(
            profile_id, harness_id, by=self.principal, reason=reason
        )
        return self.answer(HarnessOut.render(changed))
