"""Verbs on organizations, people and machines: one function each, called by API and commands.

All but the first two act within the organization's scope, which the caller has opened.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    AlreadyExists,
    FieldError,
    Invalid,
    NotFound,
    field_error,
    unknown_reference,
)
from keeptrusts_runners.identity.models import (
    Membership,
    Organization,
    RefreshToken,
    ServiceAccount,
    ServiceAccountSecret,
    User,
)
from keeptrusts_runners.identity.scopes import SERVICE_ACCOUNT_ROLES, USER_ROLES, Role
from keeptrusts_runners.identity.signals import account_revoked, identity_changed
from keeptrusts_runners.identity.tenancy import organization_scope


def create_organization(name: str) -> Organization:
    """A new tenant. Opens the scope of the organization it makes."""
    if not name.strip() or len(name) > 120:
        raise field_error("/name", "invalid", "Give a name of 1 to 120 characters.")
    organization = Organization(id=ids.new(), name=name.strip())
    with organization_scope(organization.id):
        organization.save(force_insert=True)
        after = {"name": organization.name}
        _tell(organization.id, "organization.created", "org", organization.id, after=after)
    return organization


def _tell(
    organization_id: UUID,
    verb: str,
    prefix: str,
    subject_id: UUID,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    identity_changed.send(
        sender=Organization,
        organization_id=organization_id,
        verb=verb,
        subject=ids.encode(prefix, subject_id),
        before=before,
        after=after,
    )


def create_user(email: str, password: str, *, name: str = "", staff: bool = False) -> User:
    """A person, not yet a member of anything. Raises Invalid, AlreadyExists."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise field_error("/email", "invalid", "This is not an e-mail address.") from None
    try:
        validate_password(password, User(email=email, name=name))
    except ValidationError as error:
        refused = [FieldError("/password", "too_weak", message) for message in error.messages]
        raise Invalid(errors=refused) from None
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password, name=name, is_staff=staff)
    except IntegrityError:
        raise AlreadyExists("A user with this e-mail address exists.") from None


def _role(text: str, allowed: frozenset[Role]) -> Role:
    try:
        role = Role(text)
    except ValueError:
        role = None
    if role not in allowed:
        names = ", ".join(sorted(allowed))
        raise field_error("/role", "invalid_choice", f"Choose one of {names}.")
    return role


def add_member(organization_id: UUID, user: User, role: str) -> Membership:
    """Give a person a role. Raises AlreadyExists for a member."""
    try:
        with transaction.atomic():
            made = Membership.objects.create(
                organization_id=organization_id, user=user, role=_role(role, USER_ROLES)
            )
    except IntegrityError:
        raise AlreadyExists("This user is a member already.") from None
    _tell(organization_id, "member.added", "user", user.id, after={"role": str(made.role)})
    return made


def change_role(organization_id: UUID, user_id: UUID, role: str) -> Membership:
    """The new role counts from the member's next request."""
    found = Membership.objects.filter(organization_id=organization_id, user_id=user_id)
    before = found.select_for_update().values_list("role", flat=True).first()
    if not found.update(role=_role(role, USER_ROLES)):
        raise NotFound
    if before != role:
        _tell(
            organization_id, "member.role_changed", "user", user_id,
            before={"role": before}, after={"role": role},
        )  # fmt: skip
    return found.select_related("user").get()


def remove_member(organization_id: UUID, user_id: UUID) -> None:
    """End a person's access to the organization, on their next request."""
    found = Membership.objects.filter(organization_id=organization_id, user_id=user_id)
    role = found.select_for_update().values_list("role", flat=True).first()
    if role is None:
        raise NotFound
    found.delete()
    _tell(organization_id, "member.removed", "user", user_id, before={"role": role})
    RefreshToken.objects.filter(organization_id=organization_id, user_id=user_id).update(
        revoked_at=clock.now()
    )


def create_service_account(
    organization_id: UUID, name: str, role: str, *, owner_id: UUID | None = None
) -> tuple[ServiceAccount, str]:
    """A machine and its first secret, which is told this once and stored hashed."""
    if not name.strip() or len(name) > 120:
        raise field_error("/name", "invalid", "Give a name of 1 to 120 characters.")
    if owner_id is not None:
        members = Membership.objects.filter(organization_id=organization_id, user_id=owner_id)
        if not members.exists():
            raise unknown_reference("/owner_user_id", "The owner must be a member.")
    try:
        with transaction.atomic():
            account = ServiceAccount.objects.create(
                organization_id=organization_id,
                name=name.strip(),
                role=_role(role, SERVICE_ACCOUNT_ROLES),
                owner_id=owner_id,
            )
    except IntegrityError:
        raise AlreadyExists("A service account with this name exists.") from None
    after = {"name": account.name, "role": str(account.role)}
    _tell(organization_id, "service_account.created", "sa", account.id, after=after)
    return account, _new_secret(account)


def _new_secret(account: ServiceAccount) -> str:
    secret = "kts_" + secrets.token_urlsafe(32)
    ServiceAccountSecret.objects.create(
        organization_id=account.organization_id,
        service_account=account,
        digest=hashlib.sha256(secret.encode()).digest(),
        hint=secret[-4:],
    )
    return secret


def _service_account(organization_id: UUID, account_id: UUID) -> ServiceAccount:
    account = (
        ServiceAccount.objects.filter(organization_id=organization_id, id=account_id)
        .select_for_update()
        .first()
    )
    if account is None:
        raise NotFound
    return account


def rotate_secret(
    organization_id: UUID, account_id: UUID, *, keep_old_for: timedelta = timedelta(hours=24)
) -> tuple[ServiceAccount, str]:
    """A further secret; those there are stay good for `keep_old_for`, so there is no gap."""
    account = _service_account(organization_id, account_id)
    if account.revoked_at is not None:
        raise NotFound
    until = clock.now() + keep_old_for
    ServiceAccountSecret.objects.filter(service_account=account).filter(
        Q(expires_at=None) | Q(expires_at__gt=until)
    ).update(expires_at=until)
    after = {"earlier_secrets_end_at": clock.rfc3339(until)}
    _tell(organization_id, "service_account.secret_rotated", "sa", account_id, after=after)
    return account, _new_secret(account)


def revoke_service_account(organization_id: UUID, account_id: UUID) -> ServiceAccount:
    """End a machine's access, on its next request, and what it holds. Again is the same."""
    account = _service_account(organization_id, account_id)
    if account.revoked_at is None:
        account.revoked_at = clock.now()
        account.save(update_fields=["revoked_at"])
        before = {"name": account.name, "role": str(account.role)}
        _tell(organization_id, "service_account.revoked", "sa", account_id, before=before)
        account_revoked.send(
            sender=ServiceAccount,
            organization_id=organization_id,
            account=ids.encode("sa", account_id),
        )
    return account


def service_account_with_secret(account_id: UUID, secret: str) -> ServiceAccount | None:
    """The account whose secret this is, if it is in force. Call within its scope."""
    account = ServiceAccount.objects.filter(id=account_id, revoked_at=None).first()
    if account is None:
        return None
    given = hashlib.sha256(secret.encode()).digest()
    now: datetime = clock.now()
    for known in ServiceAccountSecret.objects.filter(service_account=account):
        in_force = known.expires_at is None or known.expires_at > now
        if in_force and hmac.compare_digest(given, bytes(known.digest)):
            return account
    return None


def organization_of_service_account(account_id: UUID) -> UUID | None:
    """Needs no scope: this is how one is found."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT kt_organization_of_service_account(%s)", [account_id])
        row = cursor.fetchone()
        return row[0] if row else None
