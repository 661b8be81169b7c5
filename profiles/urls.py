"""Routes of profiles and harness revisions, below /v1/runners/."""

from django.urls import path

from profiles.api import HarnessViewSet, ProfileViewSet

api_urlpatterns = [
    path("profiles", ProfileViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "profiles/<prof:profile_id>",
        ProfileViewSet.as_view({"get": "retrieve", "put": "replace", "delete": "destroy"}),
    ),
    path(
        "profiles/<prof:profile_id>/harnesses",
        HarnessViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        "profiles/<prof:profile_id>/harnesses/latest",
        HarnessViewSet.as_view({"get": "latest"}),
    ),
]
