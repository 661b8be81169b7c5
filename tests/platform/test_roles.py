"""The database roles: what each connection of the product is, and what it can never do."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.db import DatabaseError, connections, transaction

from keeptrusts_runners import provision
from tests.database import administrator

ALIASES = list(settings.DATABASE_ROLES)


def ask(alias: str, question: str) -> object:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    return row[0] if row else None


@pytest.mark.proves("access.roles")
@pytest.mark.parametrize("alias", ALIASES)
def test_no_connection_is_a_superuser_or_passes_over_row_security(alias: str) -> None:
    powers = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
    assert ask(alias, f"SELECT {powers} FROM pg_roles WHERE rolname = current_user") is False


@pytest.mark.proves("access.roles")
def test_only_migrations_act_as_the_owner() -> None:
    acting = {alias: ask(alias, "SELECT current_user") for alias in ALIASES}
    assert acting == settings.DATABASE_ROLES | {"migrate": "keeptrusts_owner"}


def test_nobody_logs_in_as_the_owner() -> None:
    owner = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'keeptrusts_owner'"
    assert ask("default", owner) is False


@pytest.mark.parametrize("alias", ["default", "maintain", "forensics"])
def test_the_others_can_neither_become_the_owner_nor_create_anything(alias: str) -> None:
    for statement in (
        "SET ROLE keeptrusts_owner",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(using=alias):
            ask(alias, statement)


def test_every_role_that_logs_in_has_its_safety_timeouts() -> None:
    found = ask(
        "default",
        """
        SELECT array_agg(r.rolname ORDER BY r.rolname)
        FROM pg_roles r JOIN pg_db_role_setting s ON s.setrole = r.oid
        WHERE r.rolname LIKE 'keeptrusts%' AND s.setdatabase = 0
            AND 3 = (
                SELECT count(*) FROM unnest(s.setconfig) AS line
                WHERE split_part(line, '=', 1) IN (
                    'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'
                ) AND split_part(line, '=', 2) <> '0'
            )
        """,
    )
    assert found == [
        f"keeptrusts_{name}" for name in ("app", "forensics", "maintain", "migrate", "signer")
    ]


def test_strangers_do_not_get_into_the_database() -> None:
    everybody = """
        SELECT count(*) FROM pg_database, aclexplode(datacl) AS grants
        WHERE datname = current_database() AND grants.grantee = 0
    """
    assert ask("default", everybody) == 0


def test_roles_and_database_can_be_made_again() -> None:
    ask("default", "SELECT 1")
    with administrator() as server, psycopg.connect(server, autocommit=True) as connection:
        provision.make_roles(connection)
        provision.close_database(server, str(connections["default"].settings_dict["NAME"]))
