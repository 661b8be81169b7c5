"""/v1/runners/sessions/{id}/evidence: one session, proved."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from grants import bundle
from grants.serializers import SessionInclusionOut
from keeptrusts_runners.api.views import ApiViewSet, PublicViewSet
from keeptrusts_runners.errors import NotAnchored
from keeptrusts_runners.identity.oauth import KeySetOut
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

TAR = "application/x-tar"


class EvidenceViewSet(ApiViewSet):
    """Evidence that verifies without us."""

    tag = "Evidence"
    scopes: ClassVar = {"export": Scope.AUDIT, "inclusion": Scope.AUDIT}
    outputs: ClassVar = {"inclusion": SessionInclusionOut}
    refuses: ClassVar = {"inclusion": (NotAnchored,)}
    non_atomic_actions: ClassVar = frozenset({"export"})
    media_types: ClassVar = {"export": (TAR,)}

    def export(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """Export a session's evidence bundle.

        A tar of plain files and a signed statement (DSSE, in-toto) of their digests. It verifies
        offline with `manage.py verify_evidence` or the single-file verifier.
        """
        with self.organization_scope():
            session_queries.session(session_id, by=self.principal)
        return export(session_id, by=self.principal)

    def inclusion(self, request: Request, session_id: UUID) -> HttpResponse:
        """Prove that the organization's log has a session's newest anchored record.

        `pending` are the records after it, first and last, which the signer has not anchored
        yet. 409 `not_anchored` while there is none.
        """
        session = session_queries.session(session_id, by=self.principal)
        return self.answer(SessionInclusionOut.render(bundle.anchored(session)))


def export(session_id: UUID, *, by: Principal) -> StreamingHttpResponse:
    """The bundle as a download. Ask first whether the session exists."""
    response = StreamingHttpResponse(bundle.stream(session_id, by=by), content_type=TAR)
    name = bundle.filename(session_id)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


class EvidenceKeysViewSet(PublicViewSet):
    """The keys that evidence verifies with."""

    tag = "Evidence"
    outputs: ClassVar = {"retrieve": KeySetOut}

    def retrieve(self, request: Request) -> HttpResponse:
        """Get the public keys that evidence is signed with, as a JWK set.

        `purpose` is `bundles` or `checkpoints`; those of checkpoints say `since` and `until` when
        they sign, and all that ever did are listed.
        """
        return self.answer(
            {"keys": bundle.keys()}, headers={"Cache-Control": "public, max-age=300"}
        )
