"""/v1/runners/sessions/{id}/notes, /hold, /events/{id}/redact and /evidence/verification."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from grants import custody, verification
from grants.custody_serializers import HoldIn, HoldOut, NoteIn, RedactIn, VerificationOut
from grants.serializers import EventOut
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import Conflict, EvidenceExpired, EvidenceHeld
from keeptrusts_runners.identity.scopes import Scope
from profiles.serializers import NothingIn


class CustodyViewSet(ApiViewSet):
    """What people do with evidence that is there."""

    tag = "Evidence"
    scopes: ClassVar = {
        "annotate": Scope.WRITE,
        "hold": Scope.READ,
        "place_hold": Scope.AUDIT,
        "lift_hold": Scope.AUDIT,
        "redact": Scope.AUDIT,
    }
    inputs: ClassVar = {"annotate": NoteIn, "place_hold": HoldIn, "redact": RedactIn}
    outputs: ClassVar = {
        "annotate": EventOut,
        "hold": HoldOut,
        "place_hold": HoldOut,
        "lift_hold": None,
        "redact": EventOut,
    }
    statuses: ClassVar = {"annotate": 201, "lift_hold": 204}
    refuses: ClassVar = {
        "annotate": (EvidenceExpired,),
        "place_hold": (EvidenceExpired,),
        "lift_hold": (EvidenceExpired,),
        "redact": (Conflict, EvidenceHeld, EvidenceExpired),
    }
    examples: ClassVar = {
        "annotate": (
            Example("A note for whoever reads on", request={"message": "Asked the vendor."}),
        ),
        "redact": (
            Example("A secret that a harness printed", request={"reason": "It held a password."}),
        ),
    }

    @idempotent
    def annotate(self, request: Request, session_id: UUID) -> HttpResponse:
        """Add a person's note to a session's record, in every state and under no lease."""
        event = custody.annotate(session_id, by=self.principal, **self.body())
        return self.answer(EventOut.render(event), 201)

    def hold(self, request: Request, session_id: UUID) -> HttpResponse:
        """Get a session's legal hold; 404 where there is none."""
        return self.answer(HoldOut.render(custody.hold_of(session_id, by=self.principal)))

    def place_hold(self, request: Request, session_id: UUID) -> HttpResponse:
        """Place a legal hold: nothing of the session is redacted or expires while it lasts."""
        hold = custody.place_hold(session_id, by=self.principal, **self.body())
        return self.answer(HoldOut.render(hold))

    def lift_hold(self, request: Request, session_id: UUID) -> HttpResponse:
        """Lift a session's legal hold. What retention has waited for may then happen at once."""
        custody.lift_hold(session_id, by=self.principal)
        return self.answer(status=204)

    def redact(self, request: Request, session_id: UUID, event_id: UUID) -> HttpResponse:
        """Destroy an event's content for good.

        Its number, kind, actor, time and digest stay, a tombstone says who redacted it and why, and
        the chain still verifies. Backups made before still have the content. Again is the same.
        """
        event = custody.redact(session_id, event_id, by=self.principal, **self.body())
        return self.answer(EventOut.render(event))


class VerificationViewSet(ApiViewSet):
    """A session's chain, checked against what is stored."""

    tag = "Evidence"
    scopes: ClassVar = {"retrieve": Scope.AUDIT, "verify": Scope.AUDIT}
    inputs: ClassVar = {"verify": NothingIn}
    outputs: ClassVar = {"retrieve": VerificationOut, "verify": VerificationOut}
    statuses: ClassVar = {"verify": (200, 202)}
    non_atomic_actions: ClassVar = frozenset({"verify"})

    def retrieve(self, request: Request, session_id: UUID) -> HttpResponse:
        """Get what the last check of a session's chain found, and how far one under way is."""
        found = verification.of_session(session_id, by=self.principal)
        return self.answer(VerificationOut.render(found))

    def verify(self, request: Request, session_id: UUID) -> HttpResponse:
        """Recompute a session's chain now, and keep the result.

        It checks what this installation has stored. A bundle, verified elsewhere with a pinned key,
        needs no trust in it. More than 50,000 records, and what takes longer than two seconds, are
        checked in the background: the answer is then 202, with `running`, and reading this address
        tells how far it is.
        """
        self.body()
        found = verification.verify(session_id, by=self.principal)
        return self.answer(VerificationOut.render(found), 202 if found.running else 200)
