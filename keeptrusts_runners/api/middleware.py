"""What holds for every request: an id, and under the API's addresses problem documents only."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

import structlog
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import is_valid_path
from django.utils.encoding import escape_uri_path

from keeptrusts_runners import errors
from keeptrusts_runners.api import problems
from keeptrusts_runners.evidence import audit

GetResponse = Callable[[HttpRequest], HttpResponseBase]

API_ADDRESSES = frozenset({"/v1", "/healthz", "/readyz", "/metrics"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def accept_request_id(sent: str | None) -> str:
    """The client's request id if it is a plain word, else a new one."""
    return sent if sent and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)


def accept_traceparent(sent: str | None) -> str | None:
    """A valid W3C trace context, else None: a wrong one is ignored, as the standard asks."""
    return sent if sent and _TRACEPARENT.fullmatch(sent) else None


def is_api(path: str) -> bool:
    return path.startswith(("/v1/", "/.well-known/")) or path in API_ADDRESSES


class RequestIdMiddleware:
    """Outermost: every answer and every log line of a request carries its id."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = accept_request_id(request.headers.get("X-Request-Id"))
        request.request_id = request_id  # type: ignore[attr-defined]
        request.traceparent = accept_traceparent(  # type: ignore[attr-defined]
            request.headers.get("traceparent")
        )
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            audit.on_request(request_id, request.META.get("REMOTE_ADDR", "")),
        ):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


class ProblemMiddleware:
    """Under the API's addresses: no cookies, no HTML errors, one slash redirect, no caching.

    Errors of the layers below (the resolver's 404, a refused Host, a page for DEBUG) are turned
    into problem documents here, so that no view has to know about them.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request.path_info):
            return self.get_response(request)
        # Bearer only: a browser's cookies give nothing here, and so need no CSRF defence.
        request.META.pop("HTTP_COOKIE", None)
        response = self.get_response(request)
        if response.status_code in (204, 304):
            # They have no content; and a cache would take a 304's type for that of what it keeps.
            del response["Content-Type"], response["Content-Length"]
        if response.status_code >= 400 and _is_html(response):
            response = _with_headers_of(response, self._problem(request, response))
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        if not _is_html(response) and not _is_sandboxed(response):
            response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Plain views under the API raise the same errors as viewsets do."""
        if not is_api(request.path_info):
            return None
        return problems.render(problems.as_domain_error(error), request)

    def _problem(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
        if response.status_code == 404 and (target := _without_slash(request)):
            return HttpResponse(status=308, headers={"Location": target})
        if response.status_code == 400 and not _is_known_host(request):
            return problems.render(errors.Malformed("This server has another name."), request)
        error = problems.for_status(response.status_code, allow=response.get("Allow"))
        return problems.render(error, request)


def _with_headers_of(replaced: HttpResponseBase, response: HttpResponse) -> HttpResponse:
    """What the layers below set stays: an unknown address and an unknown id answer alike. But
    for what is said of the page that is replaced, which may have read the browser's session."""
    for name, value in replaced.items():
        if not name.startswith("Content-") and name != "Vary":
            response.headers.setdefault(name, value)
    response["Content-Length"] = str(len(response.content))
    return response


def _is_html(response: HttpResponseBase) -> bool:
    return str(response.get("Content-Type", "")).startswith("text/html")


def _is_sandboxed(response: HttpResponseBase) -> bool:
    """A download, which has a stricter policy of its own."""
    return str(response.get("Content-Security-Policy", "")).startswith("sandbox")


def _is_known_host(request: HttpRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


def _without_slash(request: HttpRequest) -> str | None:
    """Where a path that no route knows leads to without its slashes at the end."""
    bare = request.path_info.rstrip("/")
    if bare == request.path_info or not is_api(bare) or not is_valid_path(bare):
        return None
    query = request.META.get("QUERY_STRING", "")
    return escape_uri_path(bare) + (f"?{query}" if query else "")
