"""POST /v1/auth/token and /v1/auth/revoke: RFC 6749 and RFC 7009, form-encoded, as clients expect.

Three grant types: `password` for people, `client_credentials` for machines, `refresh_token` for
people again. Refused requests answer `{error, error_description}`, the OAuth shape, not a problem
document.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request

from keeptrusts_runners import clock, ids
from keeptrusts_runners.api import body
from keeptrusts_runners.api.answers import json_answer
from keeptrusts_runners.api.schema import Schema, ScopedSchema
from keeptrusts_runners.api.shapes import OutputShape
from keeptrusts_runners.api.views import PublicViewSet
from keeptrusts_runners.errors import DomainError, InvalidToken, TooManyRequests
from keeptrusts_runners.identity import accounts, browser, passwords, tokens
from keeptrusts_runners.identity.models import RefreshToken, RevokedToken, ServiceAccount, User
from keeptrusts_runners.identity.principal import PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role, Scope
from keeptrusts_runners.identity.tenancy import organization_scope

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass
class OAuthError(Exception):
    """An error of RFC 6749 §5.2; `slow_down` is that of RFC 8628, with a time to wait."""

    error: str
    description: str
    status: int = 400
    retry_after: int | None = None

    def response(self) -> HttpResponse:
        content = {"error": self.error, "error_description": self.description}
        response = json_answer(content, self.status, _NO_STORE)
        if self.status == 401:
            response["WWW-Authenticate"] = 'Basic realm="keeptrusts-runners"'
        if self.retry_after:
            response["Retry-After"] = str(self.retry_after)
        return response


# --- the views -------------------------------------------------------------------------------


class TokenOut(OutputShape):
    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField()
    scope = serializers.CharField()
    refresh_token = serializers.CharField(required=False)


class NothingOut(OutputShape):
    """An empty object."""


class KeySetOut(OutputShape):
    """A JWK set (RFC 7517)."""

    keys = serializers.ListField(child=serializers.DictField())


_TOKEN_FIELDS = {
    "grant_type": "password, client_credentials or refresh_token",
    "username": "of a person: the e-mail address",
    "password": "of a person",
    "organization": "where to act, for a person with several organizations",
    "client_id": "of a service account; or use HTTP Basic",
    "client_secret": "of a service account; or use HTTP Basic",
    "refresh_token": "as it was answered before; good for one use",
    "scope": "some of the scopes held, separated by blanks; left out: all of them",
}
_REVOKE_FIELDS = {
    "token": "an access, refresh or session token",
    "token_type_hint": "not needed",
}


class OAuthSchema(ScopedSchema):
    """Refusals in OAuth's own shape."""

    def _responses(self) -> Schema:
        usual = super()._responses()
        refused = {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {"type": "string"},
                "error_description": {"type": "string"},
            },
        }
        for status in ("400", "401", "413", "429"):
            text = "Refused, as RFC 6749 §5.2 has it."
            content = {"application/json": {"schema": refused}}
            usual[status] = {"description": text, "content": content}
        return usual


class OAuthViewSet(PublicViewSet):
    """Access tokens: issue and end."""

    tag = "Identity"
    schema = OAuthSchema()
    outputs: ClassVar = {"token": TokenOut, "revoke": NothingOut}
    bodies: ClassVar = {
        "token": body.form_schema("grant_type", _TOKEN_FIELDS),
        "revoke": body.form_schema("token", _REVOKE_FIELDS),
    }

    def token(self, request: Request) -> HttpResponse:
        """Exchange credentials for an access token of 15 minutes.

        A person signs in with `grant_type=password` and renews with `refresh_token`; a machine
        uses `client_credentials`, in the form or as HTTP Basic. Passwords that are tried too
        often are answered with 429 `slow_down` and the seconds to wait in `Retry-After`.
        """
        form = _form(request._request)
        match _field(form, "grant_type"):
            case "password":
                return _by_password(request._request, form)
            case "client_credentials":
                return _by_client_credentials(request._request, form)
            case "refresh_token":
                return _by_refresh_token(form)
        raise OAuthError(
            "unsupported_grant_type", "Use password, client_credentials or refresh_token."
        )

    def revoke(self, request: Request) -> HttpResponse:
        """End a token.

        Answers 200 for one that is unknown or over, too (RFC 7009 §2.2). Ending a refresh token
        ends all that came from the same sign-in.
        """
        _revoke(_field(_form(request._request), "token"))
        return json_answer({}, headers=_NO_STORE)

    def refusal(self, error: Exception) -> HttpResponseBase:
        if isinstance(error, DomainError) and error.status in (400, 413, 415):
            status = 413 if error.status == 413 else 400
            error = OAuthError("invalid_request", error.detail, status)
        return error.response() if isinstance(error, OAuthError) else super().refusal(error)


class JwksViewSet(PublicViewSet):
    """The keys that tokens verify with."""

    tag = "Identity"
    outputs: ClassVar = {"retrieve": KeySetOut}

    def retrieve(self, request: Request) -> HttpResponse:
        """Get the public keys that tokens are signed with."""
        key = tokens.signing_key().public_jwk() | {"use": "sig", "alg": "EdDSA"}
        return self.answer({"keys": [key]}, headers={"Cache-Control": "public, max-age=300"})


# --- reading the form ------------------------------------------------------------------------


def _form(request: HttpRequest) -> dict[str, str]:
    if body.content_type(request) != body.FORM:
        raise OAuthError("invalid_request", f"Send {body.FORM}.")
    return body.read_form(request)


def _field(form: dict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"{name} is missing.")
    return value


def _client(request: HttpRequest, form: dict[str, str]) -> tuple[str, str]:
    """Client credentials, from HTTP Basic or from the form, never from both."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form:
        raise OAuthError("invalid_request", "Authenticate in one way, not in two.")
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        user = secret = ""
    return user, secret


# --- the grant types ---------------------------------------------------------------------------


def _narrowed(held: frozenset[Scope], form: dict[str, str]) -> frozenset[Scope]:
    """The scopes asked for, which must be among those held; all of them when none is named."""
    if "scope" not in form:
        return held
    asked = set(form["scope"].split())
    if not asked <= {str(scope) for scope in held}:
        raise OAuthError("invalid_scope", "A scope that was asked for is not held.")
    return frozenset(scope for scope in held if scope in asked)


def _answer(access: str, scopes: frozenset[Scope], refresh: str | None = None) -> HttpResponse:
    content: dict[str, Any] = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": int(tokens.ACCESS_LIFETIME.total_seconds()),
        "scope": " ".join(sorted(scopes)),
    }
    if refresh is not None:
        content["refresh_token"] = refresh
    return json_answer(content, headers=_NO_STORE)


def _by_password(request: HttpRequest, form: dict[str, str]) -> HttpResponse:
    email, password = _field(form, "username"), _field(form, "password")
    try:
        user = passwords.verify(email, password, request)
    except TooManyRequests as error:
        raise OAuthError("slow_down", error.detail, 429, error.retry_after) from None
    if user is None:
        raise OAuthError("invalid_grant", "E-mail address or password are wrong.")
    found = browser.memberships(user)
    if named := form.get("organization"):
        found = [m for m in found if ids.encode("org", m.organization_id) == named]
    if not found:
        raise OAuthError("invalid_grant", "The user is not a member of such an organization.")
    if len(found) > 1:
        raise OAuthError("invalid_request", "The user has several organizations: name one.")
    scopes = _narrowed(ROLE_SCOPES[found[0].role], form)
    return _tokens_for(user.pk, found[0].organization_id, scopes, family=ids.new())


def _tokens_for(
    user_id: UUID, organization_id: UUID, scopes: frozenset[Scope], family: UUID
) -> HttpResponse:
    access = tokens.issue_access(PrincipalKind.USER, user_id, organization_id, scopes)
    refresh, jti, expires_at = tokens.issue_refresh(user_id, organization_id, scopes)
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
    account = _service_account(*_client(request, form))
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
    # Never more than the token that is renewed was narrowed to (RFC 6749 §6).
    held = ROLE_SCOPES[found[0].role] & claims.scopes
    return _tokens_for(claims.subject, claims.organization_id, _narrowed(held, form), family)


def _use_refresh_token(jti: UUID) -> UUID | None:
    """The family of a token that is now used up; None where it is not in force. One that was used
    before has leaked: its whole family ends."""
    known = RefreshToken.objects.select_for_update().filter(id=jti).first()
    now = clock.now()
    if known is None or known.revoked_at is not None or known.expires_at <= now:
        return None
    if known.used_at is not None:
        RefreshToken.objects.filter(family=known.family).update(revoked_at=now)
        return None
    known.used_at = now
    known.save(update_fields=["used_at"])
    return known.family


def _revoke(raw: str) -> None:
    try:
        claims = tokens.verify(raw, (tokens.AccessToken, tokens.SessionToken, tokens.RefreshToken))
    except InvalidToken:
        return
    with organization_scope(claims.organization_id):
        now = clock.now()
        if claims.expires_at <= now:
            return
        refresh = RefreshToken.objects.filter(id=claims.jti).first()
        if refresh is not None:
            RefreshToken.objects.filter(family=refresh.family).update(revoked_at=now)
            return
        RevokedToken.objects.get_or_create(
            id=claims.jti,
            defaults={"organization_id": claims.organization_id, "expires_at": claims.expires_at},
        )
