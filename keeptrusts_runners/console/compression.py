"""Pages and what they are drawn with travel compressed; all else as it is, above all streams,
downloads and what a bearer reads."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

_TYPES = ("text/html", "text/css", "text/javascript", "image/svg+xml")


class PageCompression(GZipMiddleware):
    """Django's, which adds a random length so that what was compressed tells nothing of secrets."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        is_whole = response.status_code != HTTPStatus.PARTIAL_CONTENT
        if is_whole and response.get("Content-Type", "").startswith(_TYPES):
            return super().process_response(request, response)
        return response
