"""Routes of profiles and harness revisions: of the API below /v1/runners/, and of pages."""

from django.urls import path

from profiles.api import HarnessViewSet, ProfileViewSet
from profiles.pages import editing, fleet, profile, revisions

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

_ONE = "runners/profiles/<prof:profile_id>"

page_urlpatterns = [
    path("runners", fleet.fleet, name="fleet"),
    path("runners/profiles/new", editing.new, name="profile_new"),
    path(_ONE, profile.profile, name="profile"),
    path(f"{_ONE}/edit", editing.edit, name="profile_edit"),
    path(f"{_ONE}/pause", profile.pause, name="profile_pause"),
    path(f"{_ONE}/unpause", profile.unpause, name="profile_unpause"),
    path(f"{_ONE}/archive", profile.archive, name="profile_archive"),
    path(f"{_ONE}/revisions", revisions.index, name="revisions"),
    path(f"{_ONE}/revisions/new", revisions.publish, name="revision_new"),
    path(
        f"{_ONE}/harnesses/<harn:harness_id>/deprecate",
        revisions.deprecate,
        name="harness_deprecate",
    ),
]
