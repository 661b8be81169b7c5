"""The one renderer of refusals: RFC 9457 problem documents out of the tree in errors.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import structlog
from django.core import exceptions as django_errors
from django.db import DataError, InterfaceError, OperationalError, connections
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions as drf_errors
from rest_framework.request import Request

from keeptrusts_runners import errors
from keeptrusts_runners.api.answers import encode
from keeptrusts_runners.api.pointers import field_errors

MEDIA_TYPE = "application/problem+json"
PAGES = "/v1/docs/errors/"
REALM = 'Bearer realm="keeptrusts-runners"'
DATABASE_RETRY_SECONDS = 2

_log = structlog.get_logger("keeptrusts.api")


def document(error: errors.DomainError, request_id: str | None) -> dict[str, Any]:
    """The members of the problem; what the error adds never replaces one of the standard ones."""
    problem: dict[str, Any] = {
        "type": error.type_uri or f"{PAGES}{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.errors:
        problem["errors"] = [item.as_dict() for item in error.errors]
    for name, value in error.fields.items():
        if name != "allow":
            problem.setdefault(name, value)
    return problem


def render(error: errors.DomainError, request: HttpRequest | Request) -> HttpResponse:
    """The answer for an error, with the headers that its status calls for."""
    body = encode(document(error, getattr(request, "request_id", None)))
    return HttpResponse(body, status=error.status, content_type=MEDIA_TYPE, headers=_headers(error))


def _headers(error: errors.DomainError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store", **error.headers}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status in (401, 403):
        headers["WWW-Authenticate"] = challenge(error)
    if allow := error.fields.get("allow"):
        headers["Allow"] = allow
    if error.status == 416:
        headers["Content-Range"] = f"bytes */{error.fields['size_bytes']}"
    return headers


def challenge(error: errors.DomainError) -> str:
    """`WWW-Authenticate` after RFC 6750: no error code where no token was sent at all."""
    if error.status == 403:
        scope = error.fields.get("scope")
        named = f', scope="{scope}"' if scope else ""
        return f'{REALM}, error="insufficient_scope"{named}'
    if isinstance(error, errors.InvalidToken):
        return f'{REALM}, error="invalid_token"'
    return REALM


# --- what other layers raise -----------------------------------------------------------------


def _method_not_allowed(_: Exception) -> errors.DomainError:
    return errors.MethodNotAllowed()


def _throttled(error: Any) -> errors.DomainError:
    wait = getattr(error, "wait", None)
    return errors.TooManyRequests(retry_after=max(1, int(wait or 1)))


def _invalid(error: Any) -> errors.DomainError:
    return errors.Invalid(errors=field_errors(error.detail))


def _django_invalid(error: Any) -> errors.DomainError:
    found = [errors.FieldError("", "invalid", str(message)) for message in error.messages]
    return errors.Invalid(errors=found)


def _unavailable(_: Exception) -> errors.DomainError:
    return errors.DatabaseUnavailable(retry_after=DATABASE_RETRY_SECONDS)


def _unreadable(_: Exception) -> errors.DomainError:
    return errors.Malformed("The body ended before its announced length.")


# The first match counts, so subclasses stand before their bases.
_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[Any], errors.DomainError]], ...] = (
    (Http404, lambda _: errors.NotFound()),
    (django_errors.ObjectDoesNotExist, lambda _: errors.NotFound()),
    (drf_errors.NotFound, lambda _: errors.NotFound()),
    (drf_errors.MethodNotAllowed, _method_not_allowed),
    (drf_errors.AuthenticationFailed, lambda _: errors.InvalidToken()),
    (drf_errors.NotAuthenticated, lambda _: errors.NotAuthenticated()),
    (drf_errors.PermissionDenied, lambda _: errors.PermissionDenied()),
    (django_errors.PermissionDenied, lambda _: errors.PermissionDenied()),
    (drf_errors.NotAcceptable, lambda _: errors.NotAcceptable()),
    (drf_errors.UnsupportedMediaType, lambda _: errors.UnsupportedMediaType()),
    (drf_errors.Throttled, _throttled),
    (drf_errors.ValidationError, _invalid),
    (drf_errors.ParseError, lambda _: errors.Malformed()),
    (django_errors.ValidationError, _django_invalid),
    (django_errors.RequestDataTooBig, lambda _: errors.PayloadTooLarge()),
    (django_errors.SuspiciousOperation, lambda _: errors.Malformed()),
    (UnreadablePostError, _unreadable),
    (DataError, lambda _: errors.Malformed("A value cannot be stored as it was sent.")),
    (OperationalError, _unavailable),
    (InterfaceError, _unavailable),
    (psycopg.OperationalError, _unavailable),
)


def as_domain_error(error: Exception) -> errors.DomainError:
    """Which refusal an exception stands for; what nothing explains is ours, and is logged."""
    if isinstance(error, errors.DomainError):
        return error
    for kind, translate in _TRANSLATIONS:
        if isinstance(error, kind):
            translated = translate(error)
            if translated.status >= 500:
                _log.warning("database_unavailable", reason=str(error).strip())
            return translated
    _log.error("internal_error", exc_info=error)
    return errors.InternalError()


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's hook. An open transaction that this request is part of does not commit."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.set_rollback(True)
    return render(as_domain_error(error), context["request"])


_BY_STATUS: dict[int, type[errors.DomainError]] = {
    400: errors.Malformed,
    401: errors.NotAuthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.NotAcceptable,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    429: errors.TooManyRequests,
    503: errors.DatabaseUnavailable,
}


def for_status(status: int, **fields: Any) -> errors.DomainError:
    """The error that a bare status from another layer stands for."""
    fallback = errors.Malformed if status < 500 else errors.InternalError
    return _BY_STATUS.get(status, fallback)(**fields)
