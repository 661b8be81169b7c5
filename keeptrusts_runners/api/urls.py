"""Schema, documentation and health; the project's urls.py includes it at the root."""

from __future__ import annotations

from django.urls import path

from keeptrusts_runners.api import docs, llms
from keeptrusts_runners.api.health import HealthViewSet
from keeptrusts_runners.api.metrics import MetricsViewSet

urlpatterns = [
    path("healthz", HealthViewSet.as_view({"get": "alive"}), name="healthz"),
    path("readyz", HealthViewSet.as_view({"get": "ready"}), name="readyz"),
    path("metrics", MetricsViewSet.as_view({"get": "read"}), name="metrics"),
    path("llms.txt", llms.page, name="llms"),
    path("v1/schema", docs.schema, name="api-schema"),
    path("v1/docs", docs.swagger, name="api-docs"),
    path("v1/docs/redoc", docs.redoc, name="api-redoc"),
    path("v1/docs/errors", docs.error_index, name="api-errors"),
    path("v1/docs/errors/<slug:code>", docs.error_page, name="api-error"),
]
