"""/v1/runners/evidence/…: the organization's log, for whoever checks that it only grows."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.answers import JSON, NDJSON, TEXT
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.evidence import log_proofs
from keeptrusts_runners.evidence.log_serializers import (
    ConsistencyOut,
    LogCheckpointOut,
    LogLeafOut,
    leaf_line,
)
from keeptrusts_runners.identity.scopes import Scope

_SIZE = {"type": "integer", "minimum": 1, "required": True}


class LogViewSet(ApiViewSet):
    """A Merkle log of what was recorded, and its signed checkpoints."""

    tag = "Evidence"
    scopes: ClassVar = {
        "list": Scope.AUDIT,
        "retrieve": Scope.AUDIT,
        "consistency": Scope.AUDIT,
        "leaves": Scope.AUDIT,
    }
    outputs: ClassVar = {
        "list": LogCheckpointOut,
        "retrieve": LogCheckpointOut,
        "consistency": ConsistencyOut,
        "leaves": LogLeafOut,
    }
    media_types: ClassVar = {"retrieve": (JSON, TEXT), "leaves": (JSON, NDJSON)}
    non_atomic_actions: ClassVar = frozenset({"leaves"})
    parameters: ClassVar = {"consistency": {"from": _SIZE, "to": _SIZE}}
    paginated_actions: ClassVar = frozenset({"list", "leaves"})
    tagged_actions: ClassVar = frozenset({"retrieve"})

    def list(self, request: Request) -> HttpResponse:
        """List the checkpoints of the organization's log, newest first.

        Signed notes as C2SP has them (tlog-checkpoint). Keep one elsewhere: it shows later whether
        the log was changed or rolled back.
        """
        found = log_proofs.checkpoints(self.organization_id)
        return self.answer(list_answer(*page(found, request, order=("-size",)), LogCheckpointOut))

    def retrieve(self, request: Request, size: int) -> HttpResponse:
        """Get the checkpoint of a size; with `Accept: text/plain`, the signed note alone."""
        found = log_proofs.checkpoint(self.organization_id, size)
        tag = etag.strong(self.organization_id, f"{self.media_type}:{found.note}")
        answer = self.answer(LogCheckpointOut.render(found), tag=tag)
        if self.media_type == TEXT and answer.status_code == 200:
            answer.content = found.note.encode()
            answer["Content-Type"] = f"{TEXT}; charset=utf-8"
        return answer

    def consistency(self, request: Request) -> HttpResponse:
        """Prove that the log of size `to` begins with all of size `from` (RFC 9162)."""
        old, new = (_size(request, name) for name in ("from", "to"))
        found = log_proofs.consistency(self.organization_id, old, new)
        return self.answer(ConsistencyOut.render(found))

    def leaves(self, request: Request) -> HttpResponseBase:
        """List the log's leaves in their order; with `Accept: application/x-ndjson`, all of them.

        Whoever has them all can compute every checkpoint's root, and see that a session has no
        later leaf than a bundle shows: the verifier does with `--leaves`.
        """
        if self.media_type == NDJSON:
            lines = log_proofs.stream_leaves(self.organization_id)
            return StreamingHttpResponse(map(leaf_line, lines), content_type=NDJSON)
        with self.organization_scope():
            found = log_proofs.leaves(self.organization_id)
            return self.answer(list_answer(*page(found, request, order=("index",)), LogLeafOut))


def _size(request: Request, name: str) -> int:
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise invalid(name, "must be the size of a checkpoint.")
    return int(text)
