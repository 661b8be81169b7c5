"""Every refusal the product can give, as one tree of small classes.

A class is a row of the error table: its name, its stable `code`, its HTTP `status` and its
`title`; the docstring is the default message and the text of its page under
`/v1/docs/errors/{code}`. Renderers (problem documents, console pages, commands) and
`docs/errors.md` read this tree and add nothing to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused value: a JSON pointer (RFC 6901) or query parameter, a code and a reason."""

    pointer: str
    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class DomainError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Request refused"
    # A problem type that is registered elsewhere; without one it is the address of our page.
    type_uri: ClassVar[str | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: list[FieldError] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> None:
        self.detail = detail or self.default_detail()
        self.errors = errors or []
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.fields = {name: value for name, value in fields.items() if value is not None}
        super().__init__(self.detail)

    @classmethod
    def default_detail(cls) -> str:
        return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())


# --- 400: what was sent cannot be read -------------------------------------------------------


class Malformed(DomainError):
    """The request could not be read: its syntax is wrong."""

    code, status, title = "malformed", 400, "Malformed request"


class InvalidCursor(Malformed):
    """The cursor is not one that this list gave out. Start again without `cursor`."""

    code, title = "invalid_cursor", "Invalid cursor"


class UnknownParameter(Malformed):
    """The query has a parameter that this route does not know, or gives one twice."""

    code, title = "unknown_parameter", "Unknown query parameter"


class InvalidParameter(Malformed):
    """A query parameter has a value that it cannot take."""

    code, title = "invalid_parameter", "Invalid query parameter"


class UploadLengthInconsistent(Malformed):
    """The upload has another length than was said before; `length_bytes` says which."""

    code, title = "upload_length_inconsistent", "Inconsistent upload length"
    type_uri = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"


# --- 401, 403: who asks ----------------------------------------------------------------------


class NotAuthenticated(DomainError):
    """A bearer token is needed: send `Authorization: Bearer …` from POST /v1/auth/token."""

    code, status, title = "not_authenticated", 401, "Authentication required"


class InvalidToken(NotAuthenticated):
    """The bearer token is expired, revoked, or not one of ours."""

    code, title = "invalid_token", "Invalid token"


class PermissionDenied(DomainError):
    """The principal may not do this."""

    code, status, title = "permission_denied", 403, "Permission denied"


class MissingScope(PermissionDenied):
    """The token lacks the scope that this route requires; `scope` names it."""

    code, title = "missing_scope", "Missing scope"


class NotLeaseHolder(PermissionDenied):
    """A runner writes only to sessions whose current lease it holds."""

    code, title = "not_lease_holder", "Not the lease holder"


class OutsideSession(PermissionDenied):
    """A session token is bound to one session and to a few of its routes."""

    code, title = "outside_session", "Outside the token's session"


class SelfApproval(PermissionDenied):
    """Nobody decides on a request of their own: not its requester, not the dispatcher of the
    session, not the owner of the service account behind it."""

    code, title = "self_approval", "Four eyes are required"


class RoleNotAllowed(PermissionDenied):
    """The rule names the roles that may approve, and the principal has none of them."""

    code, title = "role_not_allowed", "Role not allowed"


# --- 404 -------------------------------------------------------------------------------------


class NotFound(DomainError):
    """There is nothing here under this address, or it belongs to another organization."""

    code, status, title = "not_found", 404, "Not found"


class NoHarness(NotFound):
    """This profile has no harness revision that can be used."""

    code, title = "no_harness", "No harness revision"


class MethodNotAllowed(DomainError):
    """This address does not take this method; the `Allow` header lists those it takes."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class NotAcceptable(DomainError):
    """None of the media types in `Accept` can be produced here."""

    code, status, title = "not_acceptable", 406, "Not acceptable"


class UploadLost(DomainError):
    """Bytes that had been received are gone. Begin the upload anew."""

    code, status, title = "upload_lost", 410, "Upload lost"


# --- 409: what was asked contradicts what is -------------------------------------------------


class Conflict(DomainError):
    """The request contradicts the present state of the object."""

    code, status, title = "conflict", 409, "Conflict"


class StateConflict(Conflict):
    """The session is in a state from which this verb does not lead anywhere;
    `current_state` and `allowed_verbs` say what is possible."""

    code, title = "state_conflict", "Not possible in this state"


class LeaseLost(Conflict):
    """The lease under which this was written has ended or been taken over. Stop the work:
    nothing written under it counts any more."""

    code, title = "lease_lost", "Lease lost"


class NotLeased(Conflict):
    """The session has never been claimed. Claim it first."""

    code, title = "not_leased", "Not leased"


class LeaseEpochRequired(Conflict):
    """The session has been claimed more than once: name the epoch you write under, as
    `lease_epoch` in the body or in a `Lease-Epoch` header, or use the session token."""

    code, title = "lease_epoch_required", "Lease epoch required"


class NotClaimable(Conflict):
    """The session cannot be claimed now; `reason` says why."""

    code, title = "not_claimable", "Not claimable"


class EvidenceHeld(Conflict):
    """A legal hold is on the session: nothing of its evidence may be redacted until somebody lifts
    it."""

    code, title = "evidence_held", "Evidence is held"


class EvidenceExpired(Conflict):
    """The profile's retention has removed the content of this session's evidence; nothing can be
    added to it any more."""

    code, title = "evidence_expired", "Evidence has expired"


class ClaimIdReused(Conflict):
    """This `claim_id` was answered with other sessions. Give each claim an id of its own, and
    repeat it only with the same request."""

    code, title = "claim_id_reused", "claim_id reused"


class ExecutorDraining(Conflict):
    """An operator drains this executor: it is handed nothing new until that is taken back. Finish
    what you hold, and ask again after the time that `Retry-After` names."""

    code, title = "executor_draining", "Executor is draining"


class OutcomeConflict(Conflict):
    """This epoch has already ended with another outcome; the recorded one stands."""

    code, title = "outcome_conflict", "Outcome already recorded"


class AlreadyExists(Conflict):
    """An object with this name or version exists already."""

    code, title = "already_exists", "Already exists"


class AlreadyCreated(Conflict):
    """This key has already created an object whose credentials are never shown again."""

    code, title = "already_created", "Already created"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is still being worked on."""

    code, title = "request_in_flight", "Request in flight"


class RequestChanged(Conflict):
    """The grant request is no longer the one that was shown. Read it again, then decide."""

    code, title = "request_changed", "Request changed"


class AlreadyDecided(Conflict):
    """The grant request has been decided; `state` and `decided_by` say how and by whom."""

    code, title = "already_decided", "Already decided"


class ClientIdReused(Conflict):
    """An event with this `client_id` is recorded with another content."""

    code, title = "client_id_reused", "client_id reused"


class NotAnchored(Conflict):
    """The organization's log does not have this yet: the signer is at most ten seconds behind, if
    it runs. Ask again after the time that `Retry-After` names."""

    code, title = "not_anchored", "Not anchored yet"


class UploadOffsetMismatch(Conflict):
    """The upload goes on at another offset, which `Upload-Offset` says. Send from there."""

    code, title = "upload_offset_mismatch", "Offset does not match"
    type_uri = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"


class UploadCompleted(Conflict):
    """The upload is complete: `artifact_id` is the artifact that it became."""

    code, title = "upload_completed", "Upload is complete"
    type_uri = "https://iana.org/assignments/http-problem-types#completed-upload"


class UploadIncomplete(Conflict):
    """The store does not have all parts; `missing` names the first of them, at most 100. Send them
    and complete again."""

    code, title = "upload_incomplete", "Upload is incomplete"


class UploadKindMismatch(Conflict):
    """This upload goes on in another way: a direct one by its parts' addresses and `complete`,
    every other by PATCH at its content."""

    code, title = "upload_kind_mismatch", "Upload goes on in another way"


class DirectUploadsUnsupported(Conflict):
    """This server keeps artifacts as files, and nobody can send to those directly. Upload through
    the server."""

    code, title = "direct_uploads_unsupported", "Direct uploads are not supported"


class ArtifactNotStored(Conflict):
    """The artifact's bytes are served only while they are known to be whole; `artifact_status`
    says what they are instead."""

    code, title = "artifact_not_stored", "Artifact is not stored"


class LimitReached(Conflict):
    """A limit of the profile or of the organization is reached; `limit` names it."""

    code, title = "limit_reached", "Limit reached"


class ProfileArchived(Conflict):
    """The profile is archived and takes no new sessions or revisions."""

    code, title = "profile_archived", "Profile archived"


# --- 410: what was there and cannot be given -------------------------------------------------


class ContentBroken(DomainError):
    """The artifact's stored bytes are no longer those that were recorded. They are not given out;
    if they are put back, the next check finds them good."""

    code, status, title = "content_broken", 410, "Content is broken"


class ContentMissing(DomainError):
    """The artifact's stored bytes are not where they were. If they are put back, the next check
    finds them."""

    code, status, title = "content_missing", 410, "Content is missing"


# --- 411 to 431: preconditions and sizes -----------------------------------------------------


class LengthRequired(DomainError):
    """An upload says its size in `Content-Length`."""

    code, status, title = "length_required", 411, "Length required"


class PreconditionFailed(DomainError):
    """The object has changed since the version named in `If-Match`."""

    code, status, title = "precondition_failed", 412, "Precondition failed"


class PayloadTooLarge(DomainError):
    """The body is larger than this route takes; `limit_bytes` says how much that is."""

    code, status, title = "payload_too_large", 413, "Payload too large"


class UnsupportedMediaType(DomainError):
    """This route reads `application/json`. (A plain `curl -d` sends a form: add
    -H 'Content-Type: application/json'.)"""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class RangeNotSatisfiable(DomainError):
    """There are no such bytes; `size_bytes` says how many there are."""

    code, status, title = "range_not_satisfiable", 416, "Range not satisfiable"


class Invalid(DomainError):
    """Some values cannot be accepted; `errors` names each field."""

    code, status, title = "invalid", 422, "Invalid values"


class IdempotencyKeyReused(DomainError):
    """This Idempotency-Key has been used with another body."""

    code, status, title = "idempotency_key_reused", 422, "Idempotency-Key reused"


class DigestMismatch(DomainError):
    """The bytes received do not have the digest that was announced. Nothing was kept."""

    code, status, title = "digest_mismatch", 422, "Digest mismatch"


class TooManyRequests(DomainError):
    """Too many requests; wait for the time that `Retry-After` names."""

    code, status, title = "too_many_requests", 429, "Too many requests"


# --- 5xx: our fault, said plainly ------------------------------------------------------------


class InternalError(DomainError):
    """Something failed on our side. The request id leads to the log."""

    code, status, title = "internal_error", 500, "Internal error"


class DatabaseUnavailable(DomainError):
    """The database is out of reach. Nothing was written; try again shortly."""

    code, status, title = "database_unavailable", 503, "Database unavailable"


class TooManyStreams(DomainError):
    """This process has as many streams open as it may; try again shortly."""

    code, status, title = "too_many_streams", 503, "Too many streams"


class StorageUnavailable(DomainError):
    """The store of artifacts is out of reach. Nothing was kept; try again shortly."""

    code, status, title = "storage_unavailable", 503, "Storage unavailable"


class InsufficientStorage(DomainError):
    """There is no room left for the bytes. Nothing was kept."""

    code, status, title = "insufficient_storage", 507, "Insufficient storage"


def catalogue() -> Iterator[type[DomainError]]:
    """Every error class that can reach a client, in the order of this file."""
    for value in list(globals().values()):
        if inspect.isclass(value) and issubclass(value, DomainError) and value is not DomainError:
            yield value


def field_error(pointer: str, code: str, detail: str) -> Invalid:
    """A 422 for one field: `pointer` is a JSON pointer such as `/lease/ttl_seconds`."""
    return Invalid(errors=[FieldError(pointer, code, detail)])


def unknown_reference(pointer: str, detail: str = "No such object.") -> Invalid:
    """A 422 for an id in a body that leads nowhere in this organization."""
    return field_error(pointer, "unknown_reference", detail)
