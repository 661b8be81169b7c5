"""What people and programs read about the API: schema, explorers, the page of each error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.views.decorators.http import require_safe

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.api.schema import document_bytes
from keeptrusts_runners.errors import NotFound, catalogue

_MEDIA_TYPES = {"json": "application/json", "yaml": "application/yaml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; worker-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document: JSON, or YAML with `?format=yaml`."""
    check_parameters(request, {"format"})
    form = request.GET.get("format", "json")
    if form not in _MEDIA_TYPES:
        raise invalid("format", "must be json or yaml.")
    content = document_bytes(form)
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:24]}"', "Cache-Control": "no-cache"}
    if etag.is_unchanged(request, headers["ETag"]):
        return HttpResponseNotModified(headers=headers)
    return HttpResponse(content, content_type=_MEDIA_TYPES[form], headers=headers)


def _page(request: HttpRequest, template: str, styles: str = "", **context: object) -> HttpResponse:
    response = render(request, f"docs/{template}", context)
    response["Content-Security-Policy"] = _POLICY.format(styles=styles)
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    return _page(request, "swagger.html")


# Redoc writes its rules into a style sheet that begins empty, and brings one for scroll bars.
_REDOC_STYLES = (
    " 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    " 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)


@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    return _page(request, "redoc.html", styles=_REDOC_STYLES)


@require_safe
def error_index(request: HttpRequest) -> HttpResponse:
    return _page(request, "errors.html", groups=list(_groups()))


@require_safe
def error_page(request: HttpRequest, code: str) -> HttpResponse:
    error = next((each for each in _described() if each.code == code), None)
    if error is None:
        raise NotFound
    return _page(request, "error.html", error=error)


# What a client does about a whole class of answers.
_ADVICE = {
    401: "Get a new token from POST /v1/auth/token and send the request again.",
    403: "Another principal, role or scope is needed; the same request will not succeed.",
    404: "Check the address and the organization of the token.",
    409: "Read the object again; then decide whether the request still makes sense.",
    412: "Read the object again and repeat the change against its new ETag.",
    429: "Wait as long as Retry-After says.",
    500: "Tell the operator the request id.",
    503: "Send the same request again after Retry-After, with the same Idempotency-Key.",
}


@dataclass(frozen=True, slots=True)
class _ErrorText:
    """One error as its page and the table tell it."""

    code: str
    status: int
    title: str
    paragraphs: list[str]

    @property
    def advice(self) -> str:
        return _ADVICE.get(self.status, "")


def _described() -> Iterator[_ErrorText]:
    for error in catalogue():
        paragraphs = [" ".join(text.split()) for text in (error.__doc__ or "").split("\n\n")]
        yield _ErrorText(error.code, error.status, error.title, paragraphs)


def _groups() -> Iterator[tuple[int, list[_ErrorText]]]:
    by_status = attrgetter("status")
    for status, group in groupby(sorted(_described(), key=by_status), key=by_status):
        yield status, list(group)


def render_errors_markdown() -> str:
    """docs/errors.md."""
    return "\n".join([*_MARKDOWN_HEAD, *_markdown_tables()]) + "\n"


_MARKDOWN_HEAD = (
    "# Errors",
    "",
    "Generated from `keeptrusts_runners/errors.py`. Every refusal is a problem document (RFC 9457)",
    "with these members; `type` is the address of the error's page under `/v1/docs/errors/`.",
    "",
    "`type`, `title`, `status`, `detail`, `code` (stable), `request_id`, and where there is more",
    "to say `errors` (a list of `{pointer, code, detail}`) and members of the error's own.",
)


def _markdown_tables() -> Iterator[str]:
    for status, group in _groups():
        yield from ("", f"## {status}", "")
        if advice := group[0].advice:
            yield from (advice, "")
        yield from ("| code | title | meaning |", "|---|---|---|")
        for error in group:
            meaning = " ".join(error.paragraphs).replace("|", "\\|")
            yield f"| `{error.code}` | {error.title} | {meaning} |"
