"""Strong entity tags from (id, version), and the preconditions that name them (RFC 9110, §13)."""

from __future__ import annotations

import base64
import hashlib
import re
from uuid import UUID

from django.http import HttpRequest
from rest_framework.request import Request

from keeptrusts_runners.errors import Malformed, PreconditionFailed

_LIST = re.compile(r'\s*(?:(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*|$))+')
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def strong(object_id: UUID, version: object) -> str:
    """A quoted tag that is equal exactly for the same object in the same version."""
    digest = hashlib.sha256(f"{object_id}:{version}".encode()).digest()
    return f'"{base64.urlsafe_b64encode(digest[:15]).decode()}"'


def require_match(request: HttpRequest | Request, tag: str) -> None:
    """Honour `If-Match`, if there is one. Compare under the lock that guards the change.

    Raises PreconditionFailed. Weak tags never match (strong comparison); `*` matches what exists.
    """
    sent = request.META.get("HTTP_IF_MATCH")
    if sent is None or sent.strip() == "*":
        return
    if tag not in _tags(sent, "If-Match"):
        raise PreconditionFailed


def is_unchanged(request: HttpRequest | Request, tag: str) -> bool:
    """Whether `If-None-Match` names this version, so that 304 is the answer."""
    sent = request.META.get("HTTP_IF_NONE_MATCH")
    if sent is None:
        return False
    if sent.strip() == "*":
        return True
    return tag in [each.removeprefix("W/") for each in _tags(sent, "If-None-Match")]


def _tags(sent: str, header: str) -> list[str]:
    if not _LIST.fullmatch(sent):
        raise Malformed(f'{header} takes * or a list of quoted tags, such as "abc".')
    return _TAG.findall(sent)
