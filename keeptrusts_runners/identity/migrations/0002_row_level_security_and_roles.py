"""Who may see which identity row, and the two look-ups made before an organization is known."""

from django.db import migrations

from keeptrusts_runners.identity.rls import grant, protect, tenant_key, tenant_reference

# Session ids come from the database's clock, so that a process with a wrong one cannot put a
# session into the wrong partition. RFC 9562 §5.7: 48 bits of milliseconds over a random UUIDv4,
# whose variant bits stay; two bits turn its version 4 into 7.
UUID7 = """
CREATE FUNCTION kt_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(set_bit(set_bit(overlay(
           uuid_send(gen_random_uuid())
           PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
           FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;
GRANT EXECUTE ON FUNCTION kt_uuid7() TO keeptrusts_app, keeptrusts_maintain;
"""

# Sign-in knows a client id or a user, not yet an organization. These two run as the owner, whom
# the policies do not bind, and tell no more than is needed to open the right scope.
LOOK_UPS = """
CREATE FUNCTION kt_organization_of_service_account(account uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT organization_id FROM identity_service_account WHERE id = account AND revoked_at IS NULL
$$;
CREATE FUNCTION kt_memberships_of(person uuid)
RETURNS TABLE (organization_id uuid, organization_name text, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT o.id, o.name::text, m.role::text
    FROM identity_membership m JOIN identity_organization o ON o.id = m.organization_id
   WHERE m.user_id = person ORDER BY o.id
$$;
REVOKE ALL ON FUNCTION kt_organization_of_service_account(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION kt_memberships_of(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION kt_organization_of_service_account(uuid) TO keeptrusts_app;
GRANT EXECUTE ON FUNCTION kt_memberships_of(uuid) TO keeptrusts_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0001_organizations_users_and_credentials"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(UUID7, "DROP FUNCTION kt_uuid7()"),
        protect(
            "identity_organization",
            app=("SELECT", "INSERT", "UPDATE"),
            maintain=("SELECT",),
            organization_column="id",
        ),
        protect("identity_membership", app=("SELECT", "INSERT", "UPDATE", "DELETE")),
        tenant_key("identity_service_account"),
        protect("identity_service_account", app=("SELECT", "INSERT", "UPDATE")),
        tenant_reference(
            "identity_service_account_secret", "service_account_id", "identity_service_account"
        ),
        protect("identity_service_account_secret", app=("SELECT", "INSERT", "UPDATE", "DELETE")),
        protect(
            "identity_refresh_token",
            app=("SELECT", "INSERT", "UPDATE"),
            maintain=("SELECT", "DELETE"),
        ),
        protect("identity_revoked_token", maintain=("SELECT", "DELETE")),
        migrations.RunSQL(
            LOOK_UPS,
            "DROP FUNCTION kt_organization_of_service_account(uuid);"
            "DROP FUNCTION kt_memberships_of(uuid)",
        ),
        # People belong to no single organization, and Django's own tables to none at all.
        grant("identity_user", "SELECT", "INSERT", "UPDATE"),
        grant("identity_user", "SELECT", role="keeptrusts_forensics"),
        grant("django_session", "SELECT", "INSERT", "UPDATE", "DELETE"),
        grant("django_admin_log", "SELECT", "INSERT"),
        grant("django_content_type", "SELECT"),
        grant("django_migrations", "SELECT"),
        grant("auth_permission", "SELECT"),
    ]
