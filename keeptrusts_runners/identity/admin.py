"""Who there is, in the admin. Superusers may change users here; all else is made by commands and
verbs. Also the admin's own frame: its sign-in is the product's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import admin as _registers_groups  # noqa: F401
from django.contrib.auth import get_user
from django.contrib.auth.models import Group
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from keeptrusts_runners.identity.forensics import FORENSICS, Forensic, link, linked
from keeptrusts_runners.identity.models import (
    Membership,
    Organization,
    RefreshToken,
    RevokedToken,
    ServiceAccount,
    ServiceAccountSecret,
    User,
)


def sign_in(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """Whoever the admin turns away: strangers sign in, people who are not staff are told so."""
    user = get_user(request)
    if user.is_authenticated and not user.is_staff:
        raise PermissionDenied
    return redirect_to_login(request.GET.get("next") or "/admin/")


# Roles are memberships here; Django's groups stand for nothing.
admin.site.unregister(Group)
admin.site.login = sign_in  # type: ignore[method-assign]
admin.site.site_header = "Keeptrusts Runners: investigations"
admin.site.site_title = "Runners"
admin.site.index_title = "Everything of every organization, read-only"
admin.site.site_url = "/runners"


@admin.register(Organization)
class OrganizationAdmin(Forensic):
    id_prefix = "org"
    list_display = ("name", "public_id", "created_at")
    fields = readonly_fields = ("public_id", "name", "created_at", "members")

    @admin.display(description="members, the first 20")
    def members(self, obj: Organization) -> SafeString:
        found = Membership.objects.using(FORENSICS).filter(organization=obj).select_related("user")
        return _memberships(found.order_by("id")[:20])


def _memberships(found: Any) -> SafeString:
    rows = ((link(each.user, each.user.email), each.role) for each in found)
    return format_html_join("", "<p>{}: {}</p>", rows)


@admin.register(User)
class UserAdmin(Forensic):
    """Who may enter at all. Users belong to no organization, so the application's role writes."""

    id_prefix = "user"
    exact = ("email",)
    list_display = ("email", "name", "public_id", "is_active", "is_staff", "is_superuser")
    list_filter = ("is_active", "is_staff", "is_superuser")
    fields = (
        "public_id",
        "email",
        "name",
        "is_active",
        "is_staff",
        "is_superuser",
        "created_at",
        "organizations",
    )
    readonly_fields = ("public_id", "email", "created_at", "organizations")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = get_user(request)
        return user.is_active and getattr(user, "is_superuser", False)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using("default")

    @admin.display(description="organizations, the first 20")
    def organizations(self, obj: User) -> SafeString:
        found = Membership.objects.using(FORENSICS).filter(user=obj).select_related("organization")
        rows = (
            (link(each.organization, each.organization.name), each.role)
            for each in found.order_by("id")[:20]
        )
        return format_html_join("", "<p>{}: {}</p>", rows)


@admin.register(Membership)
class MembershipAdmin(Forensic):
    list_display = ("id", "person", "role", "of_organization", "created_at")
    list_select_related = ("user", "organization")
    list_filter = ("role",)
    fields = readonly_fields = ("person", "role", "of_organization", "created_at")

    person = linked("user", "")
    of_organization = linked("organization", "")


@admin.register(ServiceAccount)
class ServiceAccountAdmin(Forensic):
    id_prefix = "sa"
    list_display = ("name", "public_id", "role", "person", "of_organization", "revoked_at")
    list_select_related = ("owner", "organization")
    list_filter = ("role",)
    fields = readonly_fields = (
        "public_id",
        "name",
        "role",
        "person",
        "of_organization",
        "created_at",
        "revoked_at",
    )

    person = linked("owner", "")
    of_organization = linked("organization", "")


@admin.register(ServiceAccountSecret)
class ServiceAccountSecretAdmin(Forensic):
    list_display = ("id", "account", "hint", "created_at", "expires_at", "of_organization")
    list_select_related = ("service_account", "organization")
    fields = readonly_fields = ("account", "hint", "of_organization", "created_at", "expires_at")

    account = linked("service_account", "")
    of_organization = linked("organization", "")


@admin.register(RefreshToken)
class RefreshTokenAdmin(Forensic):
    list_display = ("id", "person", "family", "expires_at", "used_at", "revoked_at")
    list_select_related = ("user", "organization")
    fields = readonly_fields = (
        "person",
        "family",
        "of_organization",
        "expires_at",
        "used_at",
        "revoked_at",
    )

    person = linked("user", "")
    of_organization = linked("organization", "")


@admin.register(RevokedToken)
class RevokedTokenAdmin(Forensic):
    list_display = ("id", "of_organization", "expires_at")
    list_select_related = ("organization",)
    fields = readonly_fields = ("of_organization", "expires_at")

    of_organization = linked("organization", "")
