"""Who there is, in the admin. Superusers may change users here; all else is made by commands and
verbs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth import admin as _registers_groups  # noqa: F401
from django.contrib.auth import get_user
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import (
    Membership,
    Organization,
    RefreshToken,
    RevokedToken,
    ServiceAccount,
    ServiceAccountSecret,
    User,
)
from keeptrusts_runners.identity.scopes import SERVICE_ACCOUNT_ROLES, USER_ROLES
from keeptrusts_runners.investigations.columns import LAST, link, linked, table
from keeptrusts_runners.investigations.filters import one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Investigation

# Roles are memberships here; Django's groups stand for nothing.
admin.site.unregister(Group)

# A machine for each organization or some.
_UNOWNED = """
SELECT id FROM identity_service_account
 WHERE owner_id IS NULL AND revoked_at IS NULL ORDER BY id DESC
"""
_LASTING = """
SELECT s.id FROM identity_service_account_secret s
  JOIN identity_service_account a ON a.id = s.service_account_id
 WHERE s.expires_at IS NULL AND a.revoked_at IS NULL ORDER BY s.id
"""
OF_ACCOUNTS = (
    Investigation(
        "unowned", "Machines that nobody answers for",
        "Four eyes cannot exclude the person behind them.", _UNOWNED,
    ),
)  # fmt: skip
OF_SECRETS = (
    Investigation("lasting", "Secrets that never expire", "The oldest come first.", _LASTING),
)


@admin.register(Organization)
class OrganizationAdmin(Forensic):
    many = "Organizations"
    id_prefix = "org"
    list_display = ("name", "public_id", "created_at")
    fields = readonly_fields = ("public_id", "name", "created_at", "all_of_it", "members")

    @admin.display(description="all of it")
    def all_of_it(self, obj: Organization) -> SafeString:
        """By address: what belongs to an organization is of apps above this one."""
        places = (
            ("Sessions", "runner_sessions_runnersession"),
            ("Profiles", "profiles_runnerprofile"),
            ("Executors", "runner_sessions_runnerexecutor"),
            ("Audit", "evidence_auditrecord"),
            ("Log", "evidence_log"),
            ("Members", "identity_membership"),
            ("Machines", "identity_serviceaccount"),
        )
        query = urlencode({"q": ids.encode("org", obj.pk)})
        links = ((f"{reverse(f'admin:{name}_changelist')}?{query}", text) for text, name in places)
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    @admin.display(description=f"members, the first {LAST}")
    def members(self, obj: Organization) -> SafeString:
        found = Membership.objects.using(FORENSICS).filter(organization=obj).select_related("user")
        rows = (
            (link(each.user, each.user.email), each.role) for each in found.order_by("id")[:LAST]
        )
        return table("Members", ("Person", "Role"), rows)


@admin.register(User)
class UserAdmin(Forensic):
    """Who may enter at all. Users belong to no organization, so the application's role writes."""

    many = "People"
    id_prefix = "user"
    exact = ("email",)
    heavy = ("password",)
    list_display = ("email", "name", "public_id", "is_active", "is_staff", "is_superuser")
    list_filter = ("is_active", "is_staff", "is_superuser")
    fields = (
        "public_id", "email", "name", "is_active", "is_staff", "is_superuser", "created_at",
        "organizations", "did",
    )  # fmt: skip
    readonly_fields = ("public_id", "email", "created_at", "organizations", "did")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = get_user(request)
        return user.is_active and getattr(user, "is_superuser", False)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using("default")

    @admin.display(description=f"organizations, the first {LAST}")
    def organizations(self, obj: User) -> SafeString:
        found = Membership.objects.using(FORENSICS).filter(user=obj).select_related("organization")
        rows = (
            (link(each.organization, each.organization.name), each.role)
            for each in found.order_by("id")[:LAST]
        )
        return table("Organizations", ("Organization", "Role"), rows)

    @admin.display(description="what they did")
    def did(self, obj: User) -> SafeString:
        return _on_record("user", obj)


def _on_record(prefix: str, obj: Any) -> SafeString:
    """By address: the audit log is of an app above this one."""
    query = urlencode({"q": ids.encode(prefix, obj.pk)})
    to = f"{reverse('admin:evidence_auditrecord_changelist')}?{query}"
    return format_html('<a href="{}">On the audit log</a>', to)


@admin.register(Membership)
class MembershipAdmin(Forensic):
    many = "Memberships"
    belongs = {"org": "organization_id", "user": "user_id"}
    list_display = ("person", "role", "of_organization", "created_at")
    list_display_links = ("role",)
    list_select_related = ("user", "organization")
    list_filter = (one_of("role", sorted(USER_ROLES)),)
    fields = readonly_fields = ("person", "role", "of_organization", "created_at")

    person = linked("user")
    of_organization = linked("organization")


@admin.register(ServiceAccount)
class ServiceAccountAdmin(Forensic):
    many = "Service accounts"
    investigations = OF_ACCOUNTS
    id_prefix = "sa"
    belongs = {"org": "organization_id", "user": "owner_id"}
    list_display = ("name", "public_id", "role", "person", "of_organization", "revoked_at")
    list_select_related = ("owner", "organization")
    list_filter = (one_of("role", sorted(SERVICE_ACCOUNT_ROLES)),)
    fields = readonly_fields = (
        "public_id", "name", "role", "person", "of_organization", "created_at", "revoked_at",
        "secrets", "did",
    )  # fmt: skip

    person = linked("owner")
    of_organization = linked("organization")

    @admin.display(description=f"secrets, the last {LAST}")
    def secrets(self, obj: ServiceAccount) -> SafeString:
        found = obj.secrets.using(FORENSICS).order_by("-id")[:LAST]
        rows = ((link(row, str(row)), row.created_at, row.expires_at or "never") for row in found)
        return table("Secrets", ("Secret", "Made", "Expires"), rows)

    @admin.display(description="what it did")
    def did(self, obj: ServiceAccount) -> SafeString:
        return _on_record("sa", obj)


@admin.register(ServiceAccountSecret)
class ServiceAccountSecretAdmin(Forensic):
    many = "Secrets of service accounts"
    investigations = OF_SECRETS
    exported = False
    belongs = {"org": "organization_id", "sa": "service_account_id"}
    list_display = ("hint", "account", "created_at", "expires_at", "of_organization")
    list_select_related = ("service_account", "organization")
    fields = readonly_fields = ("account", "hint", "of_organization", "created_at", "expires_at")

    account = linked("service_account")
    of_organization = linked("organization")


@admin.register(RefreshToken)
class RefreshTokenAdmin(Forensic):
    many = "Refresh tokens"
    exported = False
    dated = False
    belongs = {"org": "organization_id", "user": "user_id"}
    list_display = ("id", "person", "family", "expires_at", "used_at", "revoked_at")
    list_select_related = ("user", "organization")
    fields = readonly_fields = (
        "person", "family", "of_organization", "expires_at", "used_at", "revoked_at",
    )  # fmt: skip

    person = linked("user")
    of_organization = linked("organization")


@admin.register(RevokedToken)
class RevokedTokenAdmin(Forensic):
    many = "Revoked access tokens"
    exported = False
    dated = False
    belongs = {"org": "organization_id"}
    list_display = ("id", "of_organization", "expires_at")
    list_select_related = ("organization",)
    fields = readonly_fields = ("of_organization", "expires_at")

    of_organization = linked("organization")
