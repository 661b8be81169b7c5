"""POST /v1/auth/token and /v1/auth/revoke: RFC 6749 and RFC 7009, form-encoded, as clients expect.

Three grant types: `password` for people, `client_credentials` for machines, `refresh_token` for
people again. Refused requests answer `{error, error_description}`, the OAuth shape, not a problem
document.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import InvalidToken
from keeptrusts_runners.identity import accounts, browser, tokens
from keeptrusts_runners.identity.models import RefreshToken, RevokedToken, ServiceAccount, User
from keeptrusts_runners.identity.principal import PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role, Scope
from keeptrusts_runners.identity.tenancy import organization_scope

MAX_FORM_BYTES = 16 * 1024


@dataclass
class OAuthError(Exception):
    """An error of RFC 6749 §5.2."""

    error: str
    description: str
    status: int = 400

    def response(self) -> HttpResponse:
        body = {"error": self.error, "error_description": self.description}
        response = JsonResponse(body, status=self.status)
        if self.status == 401:
            response["WWW-Authenticate"] = 'Basic realm="keeptrusts"'
        return _no_store(response)


def _no_store(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response["Pragma"] = "no-cache"
    return response


def _form(request: HttpRequest) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "Send application/x-www-form-urlencoded.")
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_FORM_BYTES:
        raise OAuthError("invalid_request", "The form is too large.", 413)
    fields: dict[str, str] = {}
    for name, values in request.POST.lists():
        if len(values) != 1:
            raise OAuthError("invalid_request", f"{name[:40]!r} is given more than once.")
        if "\x00" in values[0]:
            raise OAuthError("invalid_request", f"{name[:40]!r} has a NUL character.")
        fields[name] = values[0]
    return fields


def _field(form: dict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"{name} is missing.")
    return value


def _client(request: HttpRequest, form: dict[str, str]) -> tuple[str, str] | None:
    """Client credentials, from HTTP Basic or from the form, never from both."""
    header = request.headers.get("Authorization", "")
    if not header.startswith("Basic "):
        if "client_id" in form:
            return form["client_id"], form.get("client_secret", "")
        return None
    try:
        user, colon, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon or "\x00" in user + secret:
        raise OAuthError("invalid_client", "The Basic credentials cannot be read.", 401)
    return user, secret


def _narrowed(held: frozenset[Scope], form: dict[str, str]) -> frozenset[Scope]:
    """The scopes asked for, which must be among those held; all of them when none is named."""
    if "scope" not in form:
        return held
    asked = set(form["scope"].split())
    if not asked <= {str(scope) for scope in held}:
        raise OAuthError("invalid_scope", "A scope that was asked for is not held.")
    return frozenset(scope for scope in held if scope in asked)


def _answer(access: str, scopes: frozenset[Scope], refresh: str | None = None) -> HttpResponse:
    body: dict[str, Any] = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": int(tokens.ACCESS_LIFETIME.total_seconds()),
        "scope": " ".join(sorted(scopes)),
    }
    if refresh is not None:
        body["refresh_token"] = refresh
    return _no_store(JsonResponse(body))


@csrf_exempt
@require_POST
def token(request: HttpRequest) -> HttpResponse:
    """Exchange credentials for an access token of 15 minutes."""
    try:
        form = _form(request)
        grant_type = _field(form, "grant_type")
        match grant_type:
            case "password":
                return _by_password(form)
            case "client_credentials":
                return _by_client_credentials(request, form)
            case "refresh_token":
                return _by_refresh_token(form)
        raise OAuthError(
            "unsupported_grant_type",
            "Use password, client_credentials or refresh_token.",
        )
    except OAuthError as error:
        return error.response()


def _by_password(form: dict[str, str]) -> HttpResponse:
    user = authenticate(username=_field(form, "username"), password=_field(form, "password"))
    if not isinstance(user, User):
        raise OAuthError("invalid_grant", "E-mail address or password are wrong.")
    found = browser.memberships(user)
    if named := form.get("organization"):
        found = [m for m in found if ids.encode("org", m.organization_id) == named]
    if not found:
        raise OAuthError("invalid_grant", "The user is not a member of such an organization.")
    if len(found) > 1:
        raise OAuthError("invalid_request", "The user has several organizations: name one.")
    return _tokens_for(user.pk, found[0].organization_id, found[0].role, form, family=ids.new())


def _tokens_for(
    user_id: UUID, organization_id: UUID, role: Role, form: dict[str, str], family: UUID
) -> HttpResponse:
    scopes = _narrowed(ROLE_SCOPES[role], form)
    access = tokens.issue_access(PrincipalKind.USER, user_id, organization_id, scopes)
    refresh, jti, expires_at = tokens.issue_refresh(user_id, organization_id)
    with organization_scope(organization_id):
        RefreshToken.objects.create(
            id=jti,
            organization_id=organization_id,
            family=family,
            user_id=user_id,
            expires_at=expires_at,
        )
    return _answer(access, scopes, refresh)


def _by_client_credentials(request: HttpRequest, form: dict[str, str]) -> HttpResponse:
    credentials = _client(request, form)
    account = _service_account(*credentials) if credentials else None
    if account is None:
        raise OAuthError("invalid_client", "Client id or secret are wrong.", 401)
    scopes = _narrowed(ROLE_SCOPES[Role(account.role)], form)
    access = tokens.issue_access(
        PrincipalKind.SERVICE_ACCOUNT, account.id, account.organization_id, scopes
    )
    return _answer(access, scopes)


def _service_account(client_id: str, secret: str) -> ServiceAccount | None:
    try:
        account_id = ids.decode("sa", client_id)
    except ValueError:
        return None
    organization_id = accounts.organization_of_service_account(account_id)
    if organization_id is None:
        return None
    with organization_scope(organization_id):
        return accounts.service_account_with_secret(account_id, secret)


def _by_refresh_token(form: dict[str, str]) -> HttpResponse:
    refused = OAuthError("invalid_grant", "The refresh token is not in force.")
    try:
        claims = tokens.verify(_field(form, "refresh_token"), (tokens.RefreshToken,))
    except InvalidToken:
        raise refused from None
    with organization_scope(claims.organization_id):
        family = _use_refresh_token(claims.jti)
    user = User.objects.filter(id=claims.subject, is_active=True).first()
    found = [
        m
        for m in (browser.memberships(user) if user else ())
        if m.organization_id == claims.organization_id
    ]
    if family is None or not found:
        raise refused
    return _tokens_for(claims.subject, claims.organization_id, found[0].role, form, family)


def _use_refresh_token(jti: UUID) -> UUID | None:
    """The family of a token that is now used up. One that was used before has leaked: its whole
    family ends, and this answers None."""
    known = RefreshToken.objects.select_for_update().filter(id=jti).first()
    if known is None or known.revoked_at is not None:
        return None
    now = clock.now()
    if known.used_at is not None:
        RefreshToken.objects.filter(family=known.family).update(revoked_at=now)
        return None
    known.used_at = now
    known.save(update_fields=["used_at"])
    return known.family


@csrf_exempt
@require_POST
def revoke(request: HttpRequest) -> HttpResponse:
    """End a token. Answers 200 for one that is unknown or over, too (RFC 7009 §2.2)."""
    try:
        raw = _field(_form(request), "token")
    except OAuthError as error:
        return error.response()
    try:
        claims = tokens.verify(raw, (tokens.AccessToken, tokens.SessionToken, tokens.RefreshToken))
    except InvalidToken:
        return _no_store(JsonResponse({}))
    with organization_scope(claims.organization_id):
        refresh = RefreshToken.objects.filter(id=claims.jti).first()
        if refresh is not None:
            RefreshToken.objects.filter(family=refresh.family).update(revoked_at=clock.now())
        else:
            RevokedToken.objects.get_or_create(
                id=claims.jti,
                defaults={
                    "organization_id": claims.organization_id,
                    "expires_at": claims.expires_at,
                },
            )
    return _no_store(JsonResponse({}))


def jwks(request: HttpRequest) -> HttpResponse:
    """The public keys that our tokens verify with (RFC 7517)."""
    key = tokens.signing_key()
    response = JsonResponse({"keys": [key.public_jwk() | {"use": "sig", "alg": "EdDSA"}]})
    response["Cache-Control"] = "public, max-age=300"
    return response
