"""Every refusal as a page: the counterpart of the API's problem documents.

`errors/{status}.html` explains; `errors/error.html` does for a status without a page of its own.
500 and 503 are drawn without request, database or context, since any of them may be what broke.
A fragment gets a panel instead of a page and keeps the status.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import psycopg
import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string, select_template

from keeptrusts_runners.console.responses import came_from, is_fragment
from keeptrusts_runners.errors import (
    DatabaseUnavailable,
    DomainError,
    InternalError,
    Malformed,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
)
from keeptrusts_runners.evidence import denials

log = structlog.get_logger(__name__)

View = Callable[..., HttpResponse]


def answer(request: HttpRequest, error: DomainError) -> HttpResponse:
    """The page, or the panel, for this error."""
    context = {
        "error": error,
        "request_id": getattr(request, "request_id", ""),
        "back": came_from(request) if request.method == "POST" else None,
    }
    names = [f"errors/{error.status}.html", "errors/error.html"]
    if is_fragment(request):
        content = render_to_string("errors/_fragment.html", context)
    elif error.status in (500, 503):
        content = render_to_string(names[0], context)
    else:
        content = select_template(names).render(context, request)
    response = HttpResponse(content, status=error.status)
    response["Cache-Control"] = "no-store"
    if error.retry_after:
        response["Retry-After"] = str(error.retry_after)
    return response


def of_database(error: OperationalError | InterfaceError) -> DatabaseUnavailable:
    """Too slow, or out of reach: nothing was written either way."""
    if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
        return DatabaseUnavailable(
            "This page needed more time than a page may take. Narrow the filter, then try again.",
            retry_after=2,
        )
    return DatabaseUnavailable(retry_after=5)


def answers_errors(*methods: str) -> Callable[[View], View]:
    """Take these methods only, and answer every DomainError and a lost database with a page.

    For views outside an organization (sign-in, preferences); `access.page` is built on it. The
    view then says its `methods`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method not in (*methods, *(("HEAD",) if "GET" in methods else ())):
                    raise MethodNotAllowed
                return view(request, *args, **kwargs)
            except DomainError as error:
                _keep_denial(request, error)
                return _with_allowed(answer(request, error), methods)
            except (OperationalError, InterfaceError) as error:
                log.warning("page_without_database", path=request.path, error=str(error))
                return answer(request, of_database(error))

        answering.methods = methods  # type: ignore[attr-defined]
        return answering

    return decorate


def _keep_denial(request: HttpRequest, error: DomainError) -> None:
    """What fails here is logged: the reader's answer stands."""
    principal, match = getattr(request, "principal", None), request.resolver_match
    if principal is None or match is None:
        return
    try:
        denials.keep(principal, request.method or "", match.route, error)
    except Exception as failure:
        log.error("denial_not_recorded", exc_info=failure)


def _with_allowed(response: HttpResponse, methods: tuple[str, ...]) -> HttpResponse:
    if response.status_code == MethodNotAllowed.status:
        response["Allow"] = ", ".join(methods)
    return response


# --- what Django calls when no view of ours has answered (urls.py names them) ------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, Malformed())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, PermissionDenied())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    return answer(request, InternalError())
