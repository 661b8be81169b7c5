"""The map of the product."""

from django.contrib import admin
from django.urls import include, path

from grants import urls as grants
from profiles import urls as profiles
from sessions import urls as sessions

runners = [*profiles.api_urlpatterns, *sessions.api_urlpatterns, *grants.api_urlpatterns]

urlpatterns = [
    path("v1/runners/", include(runners)),
    path("", include("keeptrusts_runners.identity.urls")),
    path("", include("keeptrusts_runners.api.urls")),
    path("", include("keeptrusts_runners.console.urls")),
    path("admin/", admin.site.urls),
]
