"""Routes of profiles and harness revisions: of the API below /v1/runners/, and of pages."""

from django.urls import path

from profiles.api import HarnessViewSet, ProfileViewSet
from profiles.pages import fleet, profile

api_urlpatterns = [
    path("profiles", ProfileViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "profiles/<prof:profile_id>",
        ProfileViewSet.as_view({"get": "retrieve", "put": "replace", "delete": "destroy"}),
    ),
    path("profiles/<prof:profile_id>/pause", ProfileViewSet.as_view({"post": "pause"})),
    path("profiles/<prof:profile_id>/unpause", ProfileViewSet.as_view({"post": "unpause"})),
    path(
        "profiles/<prof:profile_id>/harnesses",
        HarnessViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        "profiles/<prof:profile_id>/harnesses/latest",
        HarnessViewSet.as_view({"get": "latest"}),
    ),
    path(
        "profiles/<prof:profile_id>/harnesses/<harn:harness_id>/deprecate",
        HarnessViewSet.as_view({"post": "deprecate"}),
    ),
]

page_urlpatterns = [
    path("runners", fleet.fleet, name="fleet"),
    path("runners/profiles/<prof:profile_id>", profile.profile, name="profile"),
    path("runners/profiles/<prof:profile_id>/archive", profile.archive, name="profile_archive"),
]
