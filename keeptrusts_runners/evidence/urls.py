"""Routes of the audit log, below /v1/runners/."""

from django.urls import path

from keeptrusts_runners.evidence.api import AuditViewSet

api_urlpatterns = [
    path("audit", AuditViewSet.as_view({"get": "list"})),
    path("audit/<aud:audit_id>", AuditViewSet.as_view({"get": "retrieve"})),
]
