"""Routes of tokens, members and service accounts."""

from django.urls import path

from keeptrusts_runners.identity.api import MemberViewSet, ServiceAccountViewSet, WhoAmIViewSet
from keeptrusts_runners.identity.oauth import JwksViewSet, OAuthViewSet

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
