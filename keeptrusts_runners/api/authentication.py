"""Bearer tokens, and nothing else: no cookies, no Basic, no query parameter."""

from __future__ import annotations

import re

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from keeptrusts_runners.api.problems import REALM
from keeptrusts_runners.errors import InvalidToken, NotAuthenticated
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.principal import Principal

MAX_TOKEN_LENGTH = 8192
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


def bearer_token(request: HttpRequest | Request) -> str:
    """The token in `Authorization`. Raises NotAuthenticated (none) or InvalidToken (no token)."""
    scheme, _, raw = str(request.META.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    raw = raw.strip(" ")
    if len(raw) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(raw):
        raise InvalidToken
    return raw


class BearerAuthentication(BaseAuthentication):
    """For views outside the organization's transaction; ApiViewSet resolves within it."""

    def authenticate(self, request: Request) -> tuple[Principal, None]:
        return tokens.authenticate(bearer_token(request)), None

    def authenticate_header(self, request: Request) -> str:
        return REALM
