"""Idempotency-Key: the same request twice has one effect and one answer.

`@idempotent` goes on a create handler of an ApiViewSet. What compares requests in another way
(uploads, by the digest of what was received) uses `Attempt` directly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, Final, TypeVar, cast, overload
from uuid import UUID

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.api.strict_json import canonical
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import (
    AlreadyCreated,
    IdempotencyKeyReused,
    InvalidParameter,
    RequestInFlight,
)
from keeptrusts_runners.identity.principal import Principal

HEADER: Final = "Idempotency-Key"
KEPT_FOR: Final = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("Content-Type", "Location", "ETag")

Handler = TypeVar("Handler", bound=Callable[..., HttpResponseBase])


def read_key(request: HttpRequest | Request) -> str | None:
    """The request's key, if it has one. Raises InvalidParameter for one that cannot be."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidParameter(f"{HEADER} takes 1 to 255 printable ASCII characters, no blanks.")
    return key


@dataclass(frozen=True, slots=True)
class Attempt:
    """One keyed request, within its organization's transaction. Use in this order: `begin`,
    `recorded`, the effect, `record`."""

    principal: Principal
    route: str
    key: str

    def begin(self, *, wait: bool = False) -> None:
        """Hold the key until the transaction ends. If another request does, raises RequestInFlight,
        or with `wait` comes after it: a browser shows only the answer to its last click."""
        function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)::text", [self._lock_number()])
            held = cursor.fetchone()[0] != "false"
        if not held:
            raise RequestInFlight(retry_after=1)

    def recorded(self, digest: bytes) -> HttpResponse | None:
        """The answer that is kept for this key. Raises IdempotencyKeyReused for another body,
        AlreadyCreated where the answer held credentials."""
        fresh = DatabaseNow() - KEPT_FOR
        row = self._rows().filter(created_at__gt=fresh).first()
        if row is None:
            return None
        if bytes(row.body_digest) != digest:
            raise IdempotencyKeyReused
        if row.status == AlreadyCreated.status:
            raise AlreadyCreated(id=json.loads(bytes(row.body))["id"])
        headers = {**row.headers, "Idempotent-Replayed": "true"}
        return HttpResponse(bytes(row.body), status=row.status, headers=headers)

    def record(self, digest: bytes, answer: HttpResponse, *, credentials: bool = False) -> None:
        """Keep a successful answer; of one with credentials, only the id of what was made."""
        if not 200 <= answer.status_code < 300:
            return
        status, body = answer.status_code, answer.content
        if credentials:
            status = AlreadyCreated.status
            body = canonical({"id": json.loads(body)["id"]})
        self._rows().delete()
        IdempotencyKey.objects.create(
            organization_id=self.principal.organization_id,
            principal=self.principal.actor,
            route=self.route,
            key=self.key,
            body_digest=digest,
            status=status,
            headers={name: answer[name] for name in _KEPT_HEADERS if name in answer},
            body=body,
        )

    def _rows(self) -> Any:
        return IdempotencyKey.objects.filter(
            organization_id=self.principal.organization_id,
            principal=self.principal.actor,
            route=self.route,
            key=self.key,
        )

    def _lock_number(self) -> int:
        name = "\0".join(
            (str(self.principal.organization_id), self.principal.actor, self.route, self.key)
        )
        digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"idempotency").digest()
        return int.from_bytes(digest, signed=True)


def forget(organization_id: UUID, text: str) -> None:
    """Delete the kept answers that contain this text, because what it names was redacted. Such a
    request, sent again, is a new one."""
    kept = IdempotencyKey.objects.filter(organization_id=organization_id)
    kept.extra(where=["position(%s::bytea in body) > 0"], params=[text.encode()]).delete()


def attempt_for(view: Any) -> Attempt | None:
    """The keyed attempt that this request is, or None without a key."""
    key = read_key(view.request)
    if key is None:
        return None
    match = view.request.resolver_match
    route = f"{view.request.method} {match.route if match else view.request.path}"
    return Attempt(view.principal, route[:200], key)


def request_digest(view: Any) -> bytes:
    """What makes two requests the same: address, query, and the document, however it is spelt."""
    query = view.request.META.get("QUERY_STRING", "")
    content = canonical([view.request.path, query, view.document()])
    return hashlib.sha256(content).digest()


@overload
def idempotent(handler: Handler) -> Handler: ...
@overload
def idempotent(*, credentials: bool) -> Callable[[Handler], Handler]: ...
def idempotent(handler: Any = None, *, credentials: bool = False) -> Any:
    """Honour Idempotency-Key on a create handler; `credentials` keeps the answer's secrets out."""
    if handler is None:
        return lambda inner: _idempotent(inner, credentials)
    return _idempotent(handler, credentials)


def _idempotent(handler: Handler, credentials: bool) -> Handler:
    @wraps(handler)
    def keyed(view: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        attempt = attempt_for(view)
        if attempt is None:
            return handler(view, *args, **kwargs)
        digest = request_digest(view)
        attempt.begin()
        if kept := attempt.recorded(digest):
            return kept
        answer = cast(HttpResponse, handler(view, *args, **kwargs))
        attempt.record(digest, answer, credentials=credentials)
        return answer

    keyed.is_idempotent = True  # type: ignore[attr-defined]  # the schema shows the header
    return cast(Handler, keyed)


def clean_up(using: str = "maintain") -> int:
    """Delete what is older than a day, in all organizations; how many rows that were."""
    old = IdempotencyKey.objects.using(using).filter(created_at__lte=DatabaseNow() - KEPT_FOR)
    return old.delete()[0]
