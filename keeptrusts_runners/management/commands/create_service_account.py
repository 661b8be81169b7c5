"""`create_service_account --org ID --name N --role R [--owner USER] [--json]`: a machine."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.identity.scopes import SERVICE_ACCOUNT_ROLES
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.management.conversation import organization_id, tell, text, told_plainly


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # those of serving: they load every route
    help = "Create a service account. Its secret is printed once and stored hashed."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--org", required=True, metavar="ID", help="the organization, org_…")
        parser.add_argument("--name", required=True, type=text, help="of the machine")
        parser.add_argument(
            "--role",
            default="runner",
            choices=sorted(map(str, SERVICE_ACCOUNT_ROLES)),
            help="what it may do (default: runner)",
        )
        parser.add_argument("--owner", metavar="ID", help="the person who answers for it, user_…")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @told_plainly
    def handle(self, *args: Any, **options: Any) -> None:
        organization = organization_id(options["org"])
        with organization_scope(organization):
            if not Organization.objects.filter(id=organization).exists():
                raise CommandError("--org: There is no such organization.")
            account, secret = accounts.create_service_account(
                organization, options["name"], options["role"], owner_id=_owner(options["owner"])
            )
        answer = {
            "id": ids.encode("sa", account.id),
            "client_id": ids.encode("sa", account.id),
            "client_secret": secret,
        }
        tell(self, answer, as_json=options["json"])


def _owner(text: str | None) -> Any:
    try:
        return None if text is None else ids.decode("user", text)
    except ValueError:
        raise CommandError("--owner takes a user's id, user_…") from None
