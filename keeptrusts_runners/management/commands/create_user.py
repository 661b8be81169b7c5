"""`create_user --org ID --email E --role R --password-stdin [--json]`: a person with a role."""

import argparse
import getpass
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Organization, User
from keeptrusts_runners.identity.scopes import USER_ROLES
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.management.conversation import organization_id, tell, text, told_plainly


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # those of serving: they load every route
    help = (
        "Create a person and give them a role in an organization. A person who exists already, "
        "in another organization, becomes a member and keeps their password."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--org", required=True, metavar="ID", help="the organization, org_…")
        parser.add_argument("--email", required=True, type=text, help="the address to sign in with")
        parser.add_argument(
            "--role",
            required=True,
            choices=sorted(map(str, USER_ROLES)),
            help="what they may do in this organization",
        )
        parser.add_argument("--name", default="", type=text, help="as others see them")
        parser.add_argument("--staff", action="store_true", help="may enter the admin")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @told_plainly
    def handle(self, *args: Any, **options: Any) -> None:
        organization = organization_id(options["org"])
        with organization_scope(organization):
            if not Organization.objects.filter(id=organization).exists():
                raise CommandError("--org: There is no such organization.")
            user = User.objects.filter(email=options["email"].strip().lower()).first()
            if user is None:
                user = accounts.create_user(
                    options["email"],
                    _password(options["password_stdin"]),
                    name=options["name"],
                    staff=options["staff"],
                )
            accounts.add_member(organization, user, options["role"])
        answer = {
            "id": ids.encode("user", user.id),
            "email": user.email,
            "organization": options["org"],
            "role": options["role"],
        }
        tell(self, answer, as_json=options["json"])


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return _line_of_stdin()
    if not sys.stdin.isatty():
        raise CommandError("Say --password-stdin, and give the password on standard input.")
    return getpass.getpass("Password: ")


def _line_of_stdin() -> str:
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandError("--password-stdin: The password is not UTF-8 text.") from None
