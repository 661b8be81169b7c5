"""Row-level security, the second wall: what the application's role sees and changes when nothing
in the code restrains it. The tables are found in the catalogue, so that none can be forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import DatabaseError, connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import ForeignKey

from grants import chain_check, verification_runs
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import signer
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Organization, RefreshToken, RevokedToken
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path, session_api
from tests.grants.asking import approve, requested
from tests.people import Org

# Answers kept for retries are nobody's to look at.
HIDDEN_FROM_FORENSICS = {"api_idempotency_key"}
# Copied under the session's lock: a key on every event costs half of the ingest.
WITHOUT_REFERENCE = {("runner_event", "session_id")}

TABLES = """
SELECT c.relname, a.attname FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
  JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND (a.attname = 'organization_id' OR (c.relname = 'identity_organization' AND a.attname = 'id'))
 ORDER BY 1
"""


def rows(alias: str, query: str, *given: Any) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(query, given)
        return list(cursor.fetchall())


@pytest.fixture(scope="module")
def tables() -> dict[str, str]:
    """Every organization-owned table, and the column that says whose a row is."""
    found = dict(rows("migrate", TABLES))
    assert len(found) >= 15
    return found


@contextmanager
def acting(alias: str, organization: UUID | None) -> Iterator[CursorWrapper]:
    """Statements of a role in an organization; nothing of them stays."""
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET TRANSACTION READ WRITE")
        if organization is not None:
            cursor.execute("SELECT set_config('app.org_id', %s, true)", [str(organization)])
        yield cursor
        transaction.set_rollback(True, using=alias)


def count(cursor: CursorWrapper, table: str, condition: str = "true", *given: Any) -> int:
    cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}", given)
    return int(cursor.fetchone()[0])


def refusal(cursor: CursorWrapper, statement: str, *given: Any) -> str:
    """Why a statement was refused; the transaction can go on."""
    try:
        with transaction.atomic(using=cursor.db.alias):
            cursor.execute(statement, given)
    except DatabaseError as error:
        return str(error)
    return "not refused"


WRITTEN_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


def copy_into(table: str) -> str:
    """Inserts a row given as JSON, but for what the database works out by itself."""
    ((columns,),) = rows("migrate", WRITTEN_COLUMNS, table)
    record = f"jsonb_populate_record(NULL::{table}, %s::jsonb)"
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {record}"


def peopled() -> Org:
    """An organization with at least one row in every table."""
    org = Org()
    profile = factories.profile(org)
    harness = {"version": ids.new().hex, "image_ref": "registry.test/harness:1"}
    place = f"/runners/profiles/{ids.encode('prof', profile.id)}/harnesses"
    assert org.operator.api.post(place, harness).status_code == 201
    body = {"profile_id": ids.encode("prof", profile.id), "task_id": "t"}
    key = {"Idempotency-Key": "k-1"}
    assert org.operator.api.post("/runners/sessions", body, **key).status_code == 201
    session = factories.running(org, factories.pending(org, profile))
    token = session_api(org, session)
    assert token.post(path(session, "checkpoint"), {"data": {}}).status_code == 201
    artifact = token.request("POST", f"{path(session, 'artifacts')}?name=a&kind=log", raw=b"bytes")
    assert artifact.status_code == 201
    upload = {"Upload-Complete": "?0"}
    begun = token.request("POST", f"{path(session, 'artifacts')}?name=a", **upload)
    assert begun.status_code == 201
    signer.anchor(org.id)
    assert approve(org.approver.api, requested(org, session)).status_code == 200
    assert org.runner.api.post(path(session, "claim")).status_code == 409
    assert org.viewer.api.post(path(session, "cancel")).status_code == 403
    assert org.auditor.api.put(path(session, "hold"), {"reason": "r"}).status_code == 200
    assert org.auditor.api.post(path(session, "evidence/verification")).status_code == 200
    bulk = {"filter": {"state": ["pending"]}, "reason": "r"}
    assert org.operator.api.post("/runners/sessions/bulk/cancel", bulk).status_code == 201
    auditor = org.auditor.principal
    with org.scope():
        verification_runs.ask(session, chain_check.begin(session), by=auditor)
        RevokedToken.objects.create(
            id=ids.new(), organization_id=org.id, expires_at=session.created_at
        )
        retried = RunnerSession.objects.filter(profile=profile).exclude(id=session.id)
        retried.update(retry_of=session.id)
        RefreshToken.objects.create(
            id=ids.new(), organization_id=org.id, family=ids.new(), user=org.operator.user,
            expires_at=session.created_at,
        )  # fmt: skip
    return org


@pytest.fixture(scope="module")
def mine() -> Org:
    return peopled()


@pytest.fixture(scope="module")
def theirs() -> Org:
    return peopled()


@pytest.fixture(scope="module")
def their_rows(tables: dict[str, str], theirs: Org) -> dict[str, str]:
    """One row of theirs for each table, as JSON, read by the owner."""
    found = {}
    for table, column in tables.items():
        query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {column} = %s LIMIT 1"
        row = rows("migrate", query, theirs.id)
        assert row, f"peopled() makes no row of {table}"
        found[table] = row[0][0]
    return found


# --- declared --------------------------------------------------------------------------------


def test_every_model_of_an_organization_is_among_the_tables(tables: dict[str, str]) -> None:
    owned = {
        model._meta.db_table
        for model in apps.get_models()
        if any(field.attname == "organization_id" for field in model._meta.concrete_fields)
    }
    assert owned | {Organization._meta.db_table} == set(tables)


@pytest.mark.proves("access.tenancy")
def test_every_table_has_row_level_security_and_a_policy_for_the_application(
    tables: dict[str, str],
) -> None:
    secured = {
        name for (name,) in rows("migrate", "SELECT relname FROM pg_class WHERE relrowsecurity")
    }
    assert set(tables) <= secured
    policies = rows(
        "migrate",
        "SELECT tablename, policyname, roles::text[], permissive, cmd, qual, with_check"
        " FROM pg_policies WHERE schemaname = 'public'",
    )
    by_app = {row[0]: row for row in policies if "keeptrusts_app" in row[2]}
    assert set(by_app) == set(tables)
    for table, column in tables.items():
        _, _, roles, _, command, using, check = by_app[table]
        assert (roles, command) == (["keeptrusts_app"], "ALL"), table
        assert using == check
        assert f"({column} = (NULLIF(current_setting('app.org_id'::text, true)" in using
    others = {role for row in policies for role in row[2]} - {"keeptrusts_app"}
    assert others <= {"keeptrusts_maintain", "keeptrusts_forensics", "keeptrusts_signer"}


def test_what_belongs_to_no_organization_is_known_by_name(tables: dict[str, str]) -> None:
    """A new table is organization-owned, or is added here on purpose."""
    everything = rows(
        "migrate",
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
    )
    shared = {name for (name,) in everything} - set(tables)
    assert shared == {
        "identity_user", "django_session", "django_admin_log", "django_content_type",
        "django_migrations", "auth_permission", "auth_group", "auth_group_permissions",
        "runner_reaper_pulse", "runner_reaper_total", "evidence_unauthenticated",
        "evidence_log_key", "identity_password_tries",
    }  # fmt: skip


# --- seen ------------------------------------------------------------------------------------


@pytest.mark.proves("access.tenancy")
def test_the_application_sees_its_own_organizations_rows_and_no_other(
    tables: dict[str, str], mine: Org, theirs: Org
) -> None:
    with acting("default", mine.id) as app, acting("migrate", None) as owner:
        for table, column in tables.items():
            own = count(owner, table, f"{column} = %s", mine.id)
            assert own > 0, f"peopled() makes no row of {table}"
            assert count(app, table) == own, table
            assert count(app, table, f"{column} = %s", theirs.id) == 0, table


@pytest.mark.parametrize("organization", [None, ""], ids=["unset", "empty"])
def test_without_an_organization_the_application_sees_nothing(
    tables: dict[str, str], mine: Org, theirs: Org, organization: str | None
) -> None:
    with acting("default", None) as app:
        if organization is not None:
            app.execute("SELECT set_config('app.org_id', %s, true)", [organization])
        assert {count(app, table) for table in tables} == {0}


def test_an_organization_is_forgotten_with_its_transaction(mine: Org) -> None:
    with mine.scope():
        assert Organization.objects.count() == 1
    with acting("default", None) as app:
        assert count(app, "identity_organization") == 0


def test_what_is_no_organization_is_an_error_and_not_everything(tables: dict[str, str]) -> None:
    with acting("default", None) as app:
        app.execute("SELECT set_config('app.org_id', 'everybody', true)")
        for table in tables:
            assert "invalid input syntax" in refusal(app, f"SELECT 1 FROM {table}")


# --- written ---------------------------------------------------------------------------------


@pytest.mark.proves("access.tenancy")
def test_the_application_changes_no_row_of_another_organization(
    tables: dict[str, str], mine: Org, theirs: Org
) -> None:
    with acting("default", mine.id) as app:
        for table, column in tables.items():
            app.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                " AND NOT attisdropped AND has_column_privilege(%s, attname, 'UPDATE') LIMIT 1",
                [table, table],
            )
            if changeable := app.fetchone():
                name = changeable[0]
                update = f"UPDATE {table} SET {name} = {name} WHERE {column} = %s"
                app.execute(update, [theirs.id])
                assert app.rowcount == 0, table
            app.execute("SELECT has_table_privilege(%s, 'DELETE')", [table])
            if app.fetchone()[0]:
                app.execute(f"DELETE FROM {table} WHERE {column} = %s", [theirs.id])
                assert app.rowcount == 0, table


def test_the_application_adds_no_row_to_another_organization(
    tables: dict[str, str], mine: Org, their_rows: dict[str, str]
) -> None:
    with acting("default", mine.id) as app:
        for table, row in their_rows.items():
            reason = refusal(app, copy_into(table), row)
            assert (
                "violates row-level security policy" in reason or "permission denied" in reason
            ), table


def test_the_application_moves_no_row_of_its_own_into_another_organization(
    tables: dict[str, str], mine: Org, theirs: Org
) -> None:
    with acting("default", mine.id) as app:
        for table, column in tables.items():
            reason = refusal(app, f"UPDATE {table} SET {column} = %s", theirs.id)
            assert (
                "violates row-level security policy" in reason or "permission denied" in reason
            ), table


# --- referred to -----------------------------------------------------------------------------

NAME_LENGTH = 63
REFERENCES = """
SELECT conrelid::regclass::text, own.attname, confrelid::regclass::text
  FROM pg_constraint
  JOIN pg_attribute own ON own.attrelid = conrelid AND own.attnum = conkey[2]
  JOIN pg_attribute org ON org.attrelid = conrelid AND org.attnum = conkey[1]
  JOIN pg_attribute their ON their.attrelid = confrelid AND their.attnum = confkey[1]
 WHERE contype = 'f' AND cardinality(conkey) = 2 AND convalidated
   AND org.attname = 'organization_id' AND their.attname = 'organization_id'
   AND conparentid = 0
"""


def references() -> dict[tuple[str, str], str]:
    return {(table, column): target for table, column, target in rows("migrate", REFERENCES)}


@pytest.mark.proves("access.composite-keys")
def test_every_reference_between_organization_owned_rows_carries_the_organization() -> None:
    wanted = {}
    for model in apps.get_models():
        names = {field.attname for field in model._meta.concrete_fields}
        for field in model._meta.concrete_fields:
            if not isinstance(field, ForeignKey) or "organization_id" not in names:
                continue
            target = field.related_model
            if any(other.attname == "organization_id" for other in target._meta.concrete_fields):
                wanted[model._meta.db_table, field.column] = target._meta.db_table
    assert len(wanted) >= 12
    found = references()
    assert {key: target for key, target in wanted.items() if key not in WITHOUT_REFERENCE} == found


ONE_OF_A_SESSION = (
    "runner_ledger_head",
    "runner_legal_hold",
    "runner_verification",
    "runner_verification_run",
)


@pytest.mark.proves("access.composite-keys")
def test_no_row_refers_to_another_organizations(mine: Org, theirs: Org) -> None:
    """As the owner, whom no policy binds: the keys alone are the wall."""
    for (table, column), target in references().items():
        with acting("migrate", None) as owner:
            # One chain, one checkpoint number: theirs would be in the way of the key.
            if table in (*ONE_OF_A_SESSION, "runner_transition", "runner_checkpoint"):
                owner.execute(f"DELETE FROM {table} WHERE organization_id = %s", [theirs.id])
            owner.execute(
                f"SELECT id FROM {target} WHERE organization_id = %s LIMIT 1", [theirs.id]
            )
            foreign = owner.fetchone()[0]
            key = "session_id" if table in ONE_OF_A_SESSION else "id"
            reason = refusal(
                owner,
                f"UPDATE {table} SET {column} = %s WHERE {key} ="
                f" (SELECT {key} FROM {table} WHERE organization_id = %s LIMIT 1)",
                foreign,
                mine.id,
            )
            assert f"{table}_{column}_same_organization"[:NAME_LENGTH] in reason


# --- the other roles -------------------------------------------------------------------------


def test_forensics_sees_every_organization_and_writes_to_none(
    tables: dict[str, str], mine: Org, theirs: Org, their_rows: dict[str, str]
) -> None:
    with acting("forensics", None) as forensics, acting("migrate", None) as owner:
        for table, column in tables.items():
            if table in HIDDEN_FROM_FORENSICS:
                assert "permission denied" in refusal(forensics, f"SELECT 1 FROM {table}")
                continue
            assert count(forensics, table) == count(owner, table) > 1, table
            for statement, given in (
                (copy_into(table), [their_rows[table]]),
                (f"UPDATE {table} SET {column} = {column}", []),
                (f"DELETE FROM {table}", []),
                (f"TRUNCATE {table}", []),
            ):
                reason = refusal(forensics, statement, *given)
                assert f"permission denied for table {table}" in reason


def test_maintenance_sees_all_of_what_it_may_see(tables: dict[str, str], mine: Org) -> None:
    visible = set()
    with acting("maintain", None) as maintain, acting("migrate", None) as owner:
        for table in tables:
            maintain.execute("SELECT has_table_privilege(%s, 'SELECT')", [table])
            if maintain.fetchone()[0]:
                visible.add(table)
                assert count(maintain, table) == count(owner, table), table
    assert {"runner_session", "runner_grant"} <= visible
    assert not visible & {"identity_service_account_secret", "identity_membership"}


def test_looking_up_an_organization_tells_no_more_than_that(mine: Org) -> None:
    machine = mine.machine()
    assert accounts.organization_of_service_account(machine.account.id) == mine.id
    assert accounts.organization_of_service_account(ids.new()) is None
    mine.admin.api.delete(f"/service-accounts/{ids.encode('sa', machine.account.id)}")
    assert accounts.organization_of_service_account(machine.account.id) is None
    for function in ("kt_organization_of_service_account", "kt_memberships_of"):
        for alias in ("maintain", "forensics"):
            with acting(alias, None) as cursor:
                reason = refusal(cursor, f"SELECT {function}(%s)", ids.new())
                assert "permission denied" in reason


def test_a_row_of_theirs_says_whose_it_is(their_rows: dict[str, str], theirs: Org) -> None:
    for table, row in their_rows.items():
        column = "id" if table == "identity_organization" else "organization_id"
        assert json.loads(row)[column] == str(theirs.id)
