"""Organizations, the people and machines that act in them, and their credentials.

A user may belong to several organizations, so users alone belong to none; every other table here
is organization-owned and under row-level security (see rls.py and the migrations).
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.db.models.functions import Lower

from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, USER_ROLES, Role


class Organization(models.Model):
    """The tenant."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "identity_organization"

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=email.lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser):
    """A person. Staff may enter the admin, which only looks; superusers manage identity there."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_superuser = models.BooleanField(default=False)
    # Their own for the console's pages: identity/preferences.py.
    preferences = models.JSONField(default=dict, editable=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "identity_user"
        constraints = [
            CheckConstraint(condition=Q(email=Lower("email")), name="identity_user_email")
        ]

    def __str__(self) -> str:
        return self.email

    def has_perm(self, permission: str, obj: object = None) -> bool:
        """Staff may look at everything; only superusers may change what the admin allows."""
        if not self.is_active:
            return False
        return self.is_superuser or (self.is_staff and ".view_" in permission)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active and self.is_staff


def _role_in(name: str, roles: frozenset[Role]) -> CheckConstraint:
    return CheckConstraint(condition=Q(role__in=sorted(role.value for role in roles)), name=name)


class Membership(models.Model):
    """A person's role in an organization. Removing the row ends all access at once."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=16)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "identity_membership"
        constraints = [
            UniqueConstraint(fields=["organization", "user"], name="identity_membership_once"),
            _role_in("identity_membership_role", USER_ROLES),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.user_id}"


class ServiceAccount(models.Model):
    """A machine. `owner` is the person who answers for it and whom four-eyes excludes with it."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="service_accounts")
    name = models.CharField(max_length=120)
    role = models.CharField(max_length=16)
    owner = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "identity_service_account"
        constraints = [
            UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(revoked_at=None),
                name="identity_service_account_name",
            ),
            _role_in("identity_service_account_role", frozenset(ROLE_SCOPES)),
        ]

    def __str__(self) -> str:
        return self.name


class ServiceAccountSecret(models.Model):
    """One of a service account's secrets: several at once let rotation happen without a gap.

    The secret is 256 random bits, so a plain SHA-256 is as good as a slow hash and lets a token
    be issued in a millisecond.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    service_account = models.ForeignKey(
        ServiceAccount, models.PROTECT, related_name="secrets", db_constraint=False
    )
    digest = models.BinaryField(max_length=32)
    hint = models.CharField(max_length=4)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "identity_service_account_secret"

    def __str__(self) -> str:
        return f"…{self.hint}"


class RefreshToken(models.Model):
    """A refresh token that was given out. Using one twice revokes its whole family."""

    id = models.UUIDField(primary_key=True, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    family = models.UUIDField()
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "identity_refresh_token"
        indexes = [models.Index(fields=["family"], name="identity_refresh_family")]

    def __str__(self) -> str:
        return str(self.id)


class RevokedToken(models.Model):
    """An access token that was revoked before its end; forgotten when it would have expired."""

    id = models.UUIDField(primary_key=True, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "identity_revoked_token"

    def __str__(self) -> str:
        return str(self.id)


class PasswordTries(models.Model):
    """How often a password was tried of late for one account, or from one source address: `key`
    is a keyed hash of either. The first `free` tries have no wait before them."""

    key = models.CharField(primary_key=True, max_length=64)
    free = models.PositiveIntegerField()
    tries = models.PositiveIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "identity_password_tries"

    def __str__(self) -> str:
        return self.key
