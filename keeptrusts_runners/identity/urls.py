"""Routes of tokens, members and service accounts, and their pages."""

from django.urls import path

from keeptrusts_runners.identity.api import MemberViewSet, ServiceAccountViewSet, WhoAmIViewSet
from keeptrusts_runners.identity.oauth import JwksViewSet, OAuthViewSet
from keeptrusts_runners.identity.pages import members, service_accounts

_MEMBER = "v1/members/<user:user_id>"
_ACCOUNT = "v1/service-accounts/<sa:service_account_id>"

urlpatterns = [
    path("v1/auth/token", OAuthViewSet.as_view({"post": "token"})),
    path("v1/auth/revoke", OAuthViewSet.as_view({"post": "revoke"})),
    path("v1/auth/whoami", WhoAmIViewSet.as_view({"get": "retrieve"})),
    path(".well-known/jwks.json", JwksViewSet.as_view({"get": "retrieve"})),
    path("v1/members", MemberViewSet.as_view({"get": "list", "post": "create"})),
    path(
        _MEMBER,
        MemberViewSet.as_view({"get": "retrieve", "patch": "amend", "delete": "destroy"}),
    ),
    path(
        "v1/service-accounts",
        ServiceAccountViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        _ACCOUNT,
        ServiceAccountViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path(f"{_ACCOUNT}/secrets", ServiceAccountViewSet.as_view({"post": "rotate"})),
]

_MEMBER_PAGE = "runners/members/<user:user_id>"
_ACCOUNT_PAGE = "runners/service-accounts/<sa:account_id>"

page_urlpatterns = [
    path("runners/members", members.index, name="members"),
    path(_MEMBER_PAGE, members.detail, name="member"),
    path(f"{_MEMBER_PAGE}/remove", members.remove, name="member_remove"),
    path("runners/service-accounts", service_accounts.index, name="service_accounts"),
    path("runners/service-accounts/new", service_accounts.new, name="service_account_new"),
    path(_ACCOUNT_PAGE, service_accounts.detail, name="service_account"),
    path(f"{_ACCOUNT_PAGE}/secrets", service_accounts.rotate, name="service_account_rotate"),
    path(f"{_ACCOUNT_PAGE}/revoke", service_accounts.revoke, name="service_account_revoke"),
]
