"""Routes of the audit log and of the organization's log: of the API below /v1/runners/, and of
pages."""

from django.urls import path

from keeptrusts_runners.evidence.api import AuditViewSet
from keeptrusts_runners.evidence.api_log import LogViewSet
from keeptrusts_runners.evidence.pages import audit

api_urlpatterns = [
    path("audit", AuditViewSet.as_view({"get": "list"})),
    path("audit/<aud:audit_id>", AuditViewSet.as_view({"get": "retrieve"})),
    path("evidence/checkpoints", LogViewSet.as_view({"get": "list"})),
    path("evidence/checkpoints/<int:size>", LogViewSet.as_view({"get": "retrieve"})),
    path("evidence/consistency", LogViewSet.as_view({"get": "consistency"})),
    path("evidence/leaves", LogViewSet.as_view({"get": "leaves"})),
]

page_urlpatterns = [
    path("runners/audit", audit.index, name="audit"),
    path("runners/audit/<aud:audit_id>", audit.detail, name="audit_record"),
]
