"""Where the id of a grant or of an artifact leads."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse

from grants.models import Artifact, PermissionGrant
from keeptrusts_runners.identity.principal import Principal


def grant(grant_id: UUID, by: Principal) -> str | None:
    found = PermissionGrant.objects.filter(organization_id=by.organization_id, id=grant_id)
    session_id = found.values_list("session_id", flat=True).first()
    return reverse("grant", args=[session_id, grant_id]) if session_id else None


def artifact(artifact_id: UUID, by: Principal) -> str | None:
    """To what is shown of it, for its own address is a download."""
    found = Artifact.objects.filter(organization_id=by.organization_id, id=artifact_id)
    session_id = found.values_list("session_id", flat=True).first()
    args = [session_id, artifact_id]
    return reverse("session_artifact_preview", args=args) if session_id else None
