"""Verbs on profiles and harness revisions. Each runs within the organization's scope."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    AlreadyExists,
    Conflict,
    MissingScope,
    NotFound,
    PermissionDenied,
    ProfileArchived,
    field_error,
)
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Role, Scope
from profiles.models import HarnessRevision, HarnessStatus, ProfileStatus, RunnerProfile
from profiles.signals import work_released

_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")


def _may_configure(by: Principal) -> None:
    """Profiles and harnesses are written by persons or admin service accounts."""
    by.require(Scope.WRITE)
    if not by.is_person and by.role is not Role.ADMIN:
        raise PermissionDenied("Profiles are written by persons and admin service accounts.")


def _may_set_policy(by: Principal, before: list[Any], after: list[Any]) -> None:
    if before != after and by.role is not Role.ADMIN:
        raise MissingScope("Only admins change a grant policy.", scope=str(Scope.MEMBERS))


def profile(profile_id: UUID, *, by: Principal) -> RunnerProfile:
    """Raises NotFound, also for another organization's."""
    found = RunnerProfile.objects.in_organization(by.organization_id).filter(id=profile_id).first()
    if found is None:
        raise NotFound
    return found


def _locked(profile_id: UUID, by: Principal) -> RunnerProfile:
    found = (
        RunnerProfile.objects.in_organization(by.organization_id)
        .select_for_update(no_key=True)
        .filter(id=profile_id)
        .first()
    )
    if found is None:
        raise NotFound
    return found


def _coherent(profile: RunnerProfile) -> None:
    if profile.heartbeat_interval_seconds >= profile.lease_ttl_seconds:
        raise field_error(
            "/lease/heartbeat_interval_seconds",
            "contradiction",
            "Must be shorter than the lease's ttl_seconds.",
        )


def create_profile(fields: Mapping[str, Any], *, by: Principal) -> RunnerProfile:
    """A new, active profile. Raises AlreadyExists for a name in use."""
    _may_configure(by)
    made = RunnerProfile(organization_id=by.organization_id, **fields)
    _may_set_policy(by, [], made.grant_policy)
    _coherent(made)
    _save_named(made, force_insert=True)
    audit.changed("profile.created", "prof", made, by=by)
    return made


def _save_named(profile: RunnerProfile, **how: Any) -> None:
    try:
        with transaction.atomic():
            profile.save(**how)
    except IntegrityError as error:
        if "runner_profile_name" in str(error):
            raise AlreadyExists("A profile with this name exists.") from None
        raise


def replace_profile(
    current: RunnerProfile, fields: Mapping[str, Any], *, by: Principal
) -> RunnerProfile:
    """PUT: the given members replace the profile's. `current` is locked (see `for_update`)."""
    _may_configure(by)
    if current.status == ProfileStatus.ARCHIVED:
        raise ProfileArchived
    _may_set_policy(by, current.grant_policy, fields.get("grant_policy", current.grant_policy))
    before = audit.State(current)
    if fields.get("grant_policy", current.grant_policy) != current.grant_policy:
        current.grant_policy_version += 1
    for name, value in fields.items():
        setattr(current, name, value)
    _coherent(current)
    _touch(current, *fields, "grant_policy_version")
    audit.changed("profile.replaced", "prof", current, by=by, before=before)
    return current


def _touch(profile: RunnerProfile, *fields: str) -> None:
    profile.version += 1
    profile.updated_at = clock.now()
    _save_named(profile, update_fields=[*fields, "version", "updated_at"])


def for_update(profile_id: UUID, *, by: Principal) -> RunnerProfile:
    """The profile, locked until the transaction ends, for a check before a write."""
    return _locked(profile_id, by)


def archive_profile(current: RunnerProfile, *, by: Principal) -> RunnerProfile:
    """No dispatches any more; what is pending still runs; history stays. Again is the same."""
    _may_configure(by)
    if current.status != ProfileStatus.ARCHIVED:
        before = audit.State(current)
        current.status = ProfileStatus.ARCHIVED
        _touch(current, "status")
        audit.changed("profile.archived", "prof", current, by=by, before=before)
    return current


def pause_profile(profile_id: UUID, *, by: Principal) -> RunnerProfile:
    """Nothing of it is handed out any more; leases go on. Again is the same."""
    return _set_paused(profile_id, True, by)


def unpause_profile(profile_id: UUID, *, by: Principal) -> RunnerProfile:
    """What waits is handed out again, and those who wait for it are told. Again is the same."""
    return _set_paused(profile_id, False, by)


def _set_paused(profile_id: UUID, paused: bool, by: Principal) -> RunnerProfile:
    _may_configure(by)
    current = _locked(profile_id, by)
    if current.status == ProfileStatus.ARCHIVED:
        raise ProfileArchived
    wanted = ProfileStatus.PAUSED if paused else ProfileStatus.ACTIVE
    if current.status != wanted:
        before = audit.State(current)
        current.status = wanted
        _touch(current, "status")
        verb = "profile.paused" if paused else "profile.unpaused"
        audit.changed(verb, "prof", current, by=by, before=before)
        if not paused:
            work_released.send(sender=RunnerProfile, organization_id=current.organization_id)
    return current


def publish_harness(
    profile_id: UUID, fields: Mapping[str, Any], *, by: Principal
) -> HarnessRevision:
    """An immutable revision. A digest in `image_ref` and one beside it must agree."""
    _may_configure(by)
    owner = _locked(profile_id, by)
    if owner.status == ProfileStatus.ARCHIVED:
        raise ProfileArchived
    try:
        with transaction.atomic():
            made = HarnessRevision.objects.create(
                organization_id=by.organization_id,
                profile=owner,
                published_by=by.actor,
                **{**fields, "image_digest": _pinned_digest(fields)},
            )
    except IntegrityError:
        raise AlreadyExists("This version is published already; revisions never change.") from None
    audit.changed("harness.published", "harn", made, by=by, detail=_which(made))
    return made


def _which(harness: HarnessRevision) -> dict[str, str]:
    """What an auditor knows a revision by."""
    return {"profile_id": ids.encode("prof", harness.profile_id), "version": harness.version}


def _pinned_digest(fields: Mapping[str, Any]) -> str | None:
    """The digest that pins the image; None marks a tag, which can move."""
    named = fields.get("image_digest")
    found = _DIGEST.search(fields["image_ref"])
    if named and found and named != found[1]:
        raise field_error("/image_digest", "contradiction", "image_ref names another digest.")
    return named or (found[1] if found else None)


def deprecate_harness(
    profile_id: UUID, harness_id: UUID, *, by: Principal, reason: str = ""
) -> HarnessRevision:
    """No dispatch pins it by itself or by name any more; what is pinned to it runs on. Again is
    the same. Raises Conflict for one that has been recalled."""
    _may_configure(by)
    current = _locked_harness(profile_id, harness_id, by)
    if current.status == HarnessStatus.RECALLED:
        raise Conflict("A recalled harness revision stays recalled.")
    return _set_status(current, HarnessStatus.DEPRECATED, reason, by)


def recall_harness(
    profile_id: UUID, harness_id: UUID, *, by: Principal, reason: str
) -> HarnessRevision:
    """Nothing that is pinned to it is handed out any more; leases go on. Again is the same, and
    the first reason stands."""
    _may_configure(by)
    current = _locked_harness(profile_id, harness_id, by)
    return _set_status(current, HarnessStatus.RECALLED, reason, by)


def _locked_harness(profile_id: UUID, harness_id: UUID, by: Principal) -> HarnessRevision:
    found = (
        HarnessRevision.objects.of_profile(by.organization_id, profile_id)
        .select_for_update(no_key=True)
        .filter(id=harness_id)
        .first()
    )
    if found is None:
        raise NotFound
    return found


def _set_status(
    current: HarnessRevision, status: HarnessStatus, reason: str, by: Principal
) -> HarnessRevision:
    if current.status != status:
        before = audit.State(current)
        current.status, current.status_reason = status, reason
        current.status_changed_at, current.status_changed_by = clock.now(), by.actor
        current.save(
            update_fields=["status", "status_reason", "status_changed_at", "status_changed_by"]
        )
        detail = _which(current)
        audit.changed(f"harness.{status}", "harn", current, by=by, before=before, detail=detail)
    return current


def latest_harness(profile_id: UUID, *, by: Principal) -> HarnessRevision | None:
    """What a dispatch would pin now."""
    return HarnessRevision.objects.of_profile(by.organization_id, profile_id).newest_usable()


def harness_to_pin(
    profile: RunnerProfile, harness_id: UUID | None, *, by: Principal
) -> HarnessRevision | None:
    """The named revision, or the newest usable. Raises Invalid or Conflict for one that is not."""
    if harness_id is None:
        return latest_harness(profile.id, by=by)
    named = (
        HarnessRevision.objects.of_profile(by.organization_id, profile.id)
        .filter(id=harness_id)
        .first()
    )
    if named is None:
        raise field_error("/harness_id", "unknown_reference", "No such revision of this profile.")
    if named.status != HarnessStatus.ACTIVE:
        raise Conflict(f"This harness revision is {named.status}.")
    return named
