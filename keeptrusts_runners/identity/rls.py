"""What every migration that makes an organization-owned table says beside its model.

Three facts the ORM cannot express: who may touch the table (grants to the database roles),
which rows they see (row-level policies), and that a reference stays within the organization
(composite foreign keys).
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.migrations import RunSQL

APP = "keeptrusts_app"
MAINTAIN = "keeptrusts_maintain"
SIGNER = "keeptrusts_signer"
FORENSICS = "keeptrusts_forensics"

_CURRENT = "NULLIF(current_setting('app.org_id', true), '')::uuid"


def grant(table: str, *privileges: str, role: str = APP) -> RunSQL:
    """Privileges on a table that belongs to no organization."""
    return RunSQL(
        f"GRANT {', '.join(privileges)} ON {table} TO {role}",
        f"REVOKE {', '.join(privileges)} ON {table} FROM {role}",
    )


def function(sql: str, signature: str, *roles: str) -> RunSQL:
    """A function that these roles may call, and nobody else."""
    return RunSQL(
        f"{sql}; REVOKE ALL ON FUNCTION {signature} FROM PUBLIC;"
        f"GRANT EXECUTE ON FUNCTION {signature} TO {', '.join(roles)}",
        f"DROP FUNCTION {signature}",
    )


def protect(
    table: str,
    app: Iterable[str] = ("SELECT", "INSERT"),
    maintain: Iterable[str] = (),
    forensics: bool = True,
    organization_column: str = "organization_id",
    signer: Iterable[str] = (),
) -> RunSQL:
    """Row-level security: the application within one organization; maintenance, the signer and
    forensics across all; everybody else nothing. Closed when no organization is set."""
    condition = f"{organization_column} = {_CURRENT}"
    forward = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY one_organization ON {table} TO {APP} "
        f"USING ({condition}) WITH CHECK ({condition})",
        f"GRANT {', '.join(app)} ON {table} TO {APP}",
    ]
    backward = [
        f"DROP POLICY one_organization ON {table}",
        f"REVOKE ALL ON {table} FROM {APP}, {MAINTAIN}, {SIGNER}, {FORENSICS}",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    ]
    for role, policy, privileges in (
        (MAINTAIN, "all_organizations", tuple(maintain)),
        (SIGNER, "signs_all_organizations", tuple(signer)),
    ):
        if privileges:
            forward += [
                f"CREATE POLICY {policy} ON {table} TO {role} USING (true) WITH CHECK (true)",
                f"GRANT {', '.join(privileges)} ON {table} TO {role}",
            ]
            backward.insert(0, f"DROP POLICY {policy} ON {table}")
    if forensics:
        forward += [
            f"CREATE POLICY reads_everything ON {table} FOR SELECT TO {FORENSICS} USING (true)",
            f"GRANT SELECT ON {table} TO {FORENSICS}",
        ]
        backward.insert(0, f"DROP POLICY reads_everything ON {table}")
    return RunSQL(tuple(forward), tuple(backward))


def tenant_key(table: str) -> RunSQL:
    """UNIQUE (organization_id, id): what a composite reference points at."""
    name = f"{table}_tenant_key"
    return RunSQL(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE (organization_id, id)",
        f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )


def tenant_reference(table: str, column: str, target: str) -> RunSQL:
    """A foreign key that carries the organization, so that it cannot cross into another."""
    name = f"{table}_{column}_same_organization"
    return RunSQL(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} "
        f"FOREIGN KEY (organization_id, {column}) REFERENCES {target} (organization_id, id)",
        f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )
