"""Routes of events, artifacts and grants: of the API below /v1/runners/, and of pages."""

from django.urls import path

from grants.api.artifacts import ArtifactViewSet
from grants.api.authority import AuthorityViewSet
from grants.api.custody import CustodyViewSet, VerificationViewSet
from grants.api.direct_uploads import DirectUploadViewSet
from grants.api.events import EventViewSet
from grants.api.evidence import EvidenceKeysViewSet, EvidenceViewSet
from grants.api.permission_grants import PermissionGrantViewSet
from grants.api.streams import StreamViewSet
from grants.api.usage import UsageViewSet
from grants.pages import (
    artifacts,
    authority,
    events,
    evidence,
    evidence_log,
    files,
    inbox,
    notes,
    permission_grants,
    records,
    revocations,
    stream,
)
from keeptrusts_runners.api.answers import NDJSON, TEXT

_ONE = "sessions/<sess:session_id>"
_ARTIFACT = f"{_ONE}/artifacts/<art:artifact_id>"
_GRANT = f"{_ONE}/permissions/<grant:grant_id>"

api_urlpatterns = [
    path(f"{_ONE}/events", EventViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{_ONE}/events/stream", StreamViewSet.as_view({"get": "events"})),
    path("events/stream", StreamViewSet.as_view({"get": "hints"})),
    path(f"{_ONE}/events/histogram", EventViewSet.as_view({"get": "histogram"})),
    path(f"{_ONE}/events/facets", EventViewSet.as_view({"get": "facets"})),
    path(f"{_ONE}/artifacts", ArtifactViewSet.as_view({"get": "list", "post": "create"})),
    path(f"{_ONE}/artifacts/direct", DirectUploadViewSet.as_view({"post": "create"})),
    path(f"{_ARTIFACT}/parts", DirectUploadViewSet.as_view({"post": "parts"})),
    path(f"{_ARTIFACT}/complete", DirectUploadViewSet.as_view({"post": "complete"})),
    path(f"{_ONE}/artifacts/manifest", ArtifactViewSet.as_view({"get": "manifest"})),
    path(_ARTIFACT, ArtifactViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path(
        f"{_ARTIFACT}/content",
        ArtifactViewSet.as_view({"get": "content", "patch": "append", "delete": "cancel"}),
    ),
    path(f"{_ARTIFACT}/verification", ArtifactViewSet.as_view({"post": "verify"})),
    path(
        f"{_ONE}/permissions",
        PermissionGrantViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        _GRANT,
        PermissionGrantViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path(f"{_GRANT}/approve", PermissionGrantViewSet.as_view({"post": "approve"})),
    path(f"{_GRANT}/deny", PermissionGrantViewSet.as_view({"post": "deny"})),
    path(f"{_GRANT}/use", PermissionGrantViewSet.as_view({"post": "use"})),
    path(f"{_GRANT}/renew", PermissionGrantViewSet.as_view({"post": "renew"})),
    path(f"{_GRANT}/token", PermissionGrantViewSet.as_view({"post": "token"})),
    path(f"{_ONE}/notes", CustodyViewSet.as_view({"post": "annotate"})),
    path(
        f"{_ONE}/hold",
        CustodyViewSet.as_view({"get": "hold", "put": "place_hold", "delete": "lift_hold"}),
    ),
    path(f"{_ONE}/events/<evt:event_id>/redact", CustodyViewSet.as_view({"post": "redact"})),
    path(
        f"{_ONE}/evidence/verification",
        VerificationViewSet.as_view({"get": "retrieve", "post": "verify"}),
    ),
    path(f"{_ONE}/evidence", EvidenceViewSet.as_view({"get": "export"})),
    path(f"{_ONE}/evidence/inclusion", EvidenceViewSet.as_view({"get": "inclusion"})),
    path("evidence/keys", EvidenceKeysViewSet.as_view({"get": "retrieve"})),
    path("permissions", PermissionGrantViewSet.as_view({"get": "list_all"})),
    path("permissions/introspect", AuthorityViewSet.as_view({"post": "introspect"})),
    path("permissions/revoke", AuthorityViewSet.as_view({"post": "revoke"})),
    path("usage", UsageViewSet.as_view({"get": "usages"})),
    path("authority", AuthorityViewSet.as_view({"get": "authority"})),
]

_PAGE = f"runners/{_ONE}"
_ARTIFACT_PAGE = f"{_PAGE}/artifacts/<art:artifact_id>"
_GRANT_PAGE = f"{_PAGE}/grants/<grant:grant_id>"

page_urlpatterns = [
    path("runners/stream", stream.stream, name="stream"),
    path("runners/approvals", inbox.index, name="approvals"),
    path("runners/approvals/count", inbox.count, name="approvals_count"),
    path("runners/authority", authority.at, name="authority"),
    path("runners/approvals/deny", inbox.deny, name="approvals_deny"),
    path("runners/approvals/revoke", revocations.revoke, name="approvals_revoke"),
    path("runners/approvals/revoked", revocations.revoked, name="approvals_revoked"),
    path(f"{_PAGE}/events", events.events, name="session_events"),
    path(f"{_PAGE}/events/rows", events.rows, name="session_event_rows"),
    path(f"{_PAGE}/events.txt", events.download, {"media_type": TEXT}, name="session_events_text"),
    path(
        f"{_PAGE}/events.ndjson",
        events.download,
        {"media_type": NDJSON},
        name="session_events_ndjson",
    ),
    path(f"{_PAGE}/events/<int:seq>", records.event, name="session_event"),
    path(f"{_PAGE}/events/<int:seq>/redact", records.redact, name="session_event_redact"),
    path(f"{_PAGE}/artifacts", files.of_session, name="session_artifacts"),
    path(_ARTIFACT_PAGE, files.artifact, name="session_artifact"),
    path(f"{_ARTIFACT_PAGE}/preview", artifacts.preview, name="session_artifact_preview"),
    path(f"{_ARTIFACT_PAGE}/image", artifacts.image, name="session_artifact_image"),
    path(f"{_ARTIFACT_PAGE}/verify", artifacts.verify, name="session_artifact_verify"),
    path("runners/artifacts/damaged", artifacts.damaged, name="damaged_artifacts"),
    path(f"{_PAGE}/note", notes.note, name="session_note"),
    path(f"{_PAGE}/evidence", evidence.tab, name="session_evidence_page"),
    path(f"{_PAGE}/evidence/bundle", evidence.download, name="session_evidence"),
    path(f"{_PAGE}/evidence/verify", evidence.verify, name="evidence_verify"),
    path(f"{_PAGE}/evidence/hold", evidence.hold, name="evidence_hold"),
    path(f"{_PAGE}/evidence/lift", evidence.lift, name="evidence_lift"),
    path("runners/evidence", evidence_log.index, name="evidence_log"),
    path(
        "runners/evidence/checkpoints/<int:size>.txt",
        evidence_log.note,
        name="evidence_checkpoint",
    ),
    path(f"{_PAGE}/grants", permission_grants.of_session, name="session_grants"),
    path(f"{_PAGE}/grants/new", permission_grants.ask, name="grant_request"),
    path(_GRANT_PAGE, permission_grants.grant, name="grant"),
    path(f"{_GRANT_PAGE}/approve", permission_grants.approve, name="grant_approve"),
    path(f"{_GRANT_PAGE}/deny", permission_grants.deny, name="grant_deny"),
    path(f"{_GRANT_PAGE}/renew", permission_grants.renew, name="grant_renew"),
    path(f"{_GRANT_PAGE}/revoke", permission_grants.revoke, name="grant_revoke"),
]
