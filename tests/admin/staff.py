"""Staff at their browsers, and what the admin shows them."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.db import connections
from django.test import Client

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import User
from tests.people import Org

SESSIONS = "/admin/runner_sessions/runnersession/"


def signed_in(**fields: bool) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user(f"{ids.new()}@example.test", **fields))
    return client


def looker() -> Client:
    return signed_in(is_staff=True)


def superuser() -> Client:
    return signed_in(is_staff=True, is_superuser=True)


def name_of(client: Client) -> str:
    """The TypeID of whoever is signed in there."""
    return ids.encode("user", UUID(client.session["_auth_user_id"]))


def keys(response: Any) -> list[str]:
    """The primary keys of a list's rows, in order."""
    assert response.status_code == 200, response.status_code
    text = response.content.decode()
    return re.findall(r'name="_selected_action" value="([^"]+)"', text)


def links(response: Any, text: str) -> list[str]:
    """Where links of this text lead."""
    found = re.findall(rf'<a href="([^"]*)"[^>]*>{re.escape(text)}</a>', response.content.decode())
    return [address.replace("&amp;", "&") for address in found]


def on_record(org: Org, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = org.auditor.api.get(f"/runners/audit?{query}").json()["items"]
    return found


def as_owner(statement: str, *values: object) -> None:
    """What no verb of the product does."""
    with connections["migrate"].cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount > 0
