"""The map of the product."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from grants import urls as grants
from keeptrusts_runners.evidence import urls as evidence
from keeptrusts_runners.identity import urls as identity
from profiles import urls as profiles
from sessions import urls as sessions

runners = [
    *profiles.api_urlpatterns,
    *sessions.api_urlpatterns,
    *grants.api_urlpatterns,
    *evidence.api_urlpatterns,
]
pages = [
    *profiles.page_urlpatterns,
    *sessions.page_urlpatterns,
    *grants.page_urlpatterns,
    *evidence.page_urlpatterns,
    *identity.page_urlpatterns,
]

urlpatterns = [
    path("v1/runners/", include(runners)),
    path("", include("keeptrusts_runners.identity.urls")),
    path("", include("keeptrusts_runners.api.urls")),
    path("", include("keeptrusts_runners.console.urls")),
    path("", include(pages)),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/runners")),
]

handler400 = "keeptrusts_runners.console.refusals.bad_request"
handler403 = "keeptrusts_runners.console.refusals.permission_denied"
handler404 = "keeptrusts_runners.console.refusals.page_not_found"
handler500 = "keeptrusts_runners.console.refusals.server_error"
