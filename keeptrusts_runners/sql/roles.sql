-- The roles of Keeptrusts Runners, for PostgreSQL 15 or newer. Safe to run again.
--
-- An embedded server runs this by itself. On your own server an administrator does, once for
-- each installation and again after an upgrade that changes it:
--
--     psql -d postgres -f keeptrusts_runners/sql/roles.sql
--     createdb --owner=keeptrusts_owner keeptrusts
--     psql -d keeptrusts -f keeptrusts_runners/sql/database.sql
--
-- and then gives the roles that log in a password or another way in (`\password keeptrusts_app`
-- in psql, or pg_hba.conf). No role here is a superuser or passes over row-level security.
--
--   keeptrusts_owner      owns every table; nobody logs in as it
--   keeptrusts_migrate    logs in for migrations only, and acts as keeptrusts_owner
--   keeptrusts_app        the application: one organization in each transaction
--   keeptrusts_maintain   the maintenance loop: expiry and partitions, all organizations
--   keeptrusts_signer     signs the evidence log
--   keeptrusts_forensics  reads, for the administration pages

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY[
        'keeptrusts_owner', 'keeptrusts_migrate', 'keeptrusts_app',
        'keeptrusts_maintain', 'keeptrusts_signer', 'keeptrusts_forensics'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        -- Only a superuser may even mention SUPERUSER, REPLICATION and BYPASSRLS: new roles do not
        -- have them, and an existing one that does is refused below.
        EXECUTE format(
            'ALTER ROLE %I NOCREATEDB NOCREATEROLE NOINHERIT %s',
            role, CASE role WHEN 'keeptrusts_owner' THEN 'NOLOGIN' ELSE 'LOGIN' END
        );
    END LOOP;

    SELECT rolname INTO role FROM pg_roles
    WHERE rolname LIKE 'keeptrusts\_%' AND (rolsuper OR rolreplication OR rolbypassrls) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % is a superuser or bypasses row-level security', role
            USING HINT = format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS', role);
    END IF;
END
$$;

-- Not inherited: a migration acts as the owner by `SET ROLE`, never by accident.
GRANT keeptrusts_owner TO keeptrusts_migrate;

-- PostgreSQL's own safety timeouts are all off. Requests are short; whatever takes longer than
-- this is stuck, and holds locks that others wait for.
ALTER ROLE keeptrusts_app SET statement_timeout = '30s';
ALTER ROLE keeptrusts_app SET lock_timeout = '10s';
ALTER ROLE keeptrusts_app SET idle_in_transaction_session_timeout = '30s';

ALTER ROLE keeptrusts_maintain SET statement_timeout = '5min';
ALTER ROLE keeptrusts_maintain SET lock_timeout = '10s';
ALTER ROLE keeptrusts_maintain SET idle_in_transaction_session_timeout = '60s';

ALTER ROLE keeptrusts_signer SET statement_timeout = '60s';
ALTER ROLE keeptrusts_signer SET lock_timeout = '10s';
ALTER ROLE keeptrusts_signer SET idle_in_transaction_session_timeout = '30s';

ALTER ROLE keeptrusts_forensics SET statement_timeout = '5s';
ALTER ROLE keeptrusts_forensics SET lock_timeout = '5s';
ALTER ROLE keeptrusts_forensics SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE keeptrusts_forensics SET default_transaction_read_only = on;

-- A migration may take its time, but must not queue everybody else behind its lock.
ALTER ROLE keeptrusts_migrate SET statement_timeout = '30min';
ALTER ROLE keeptrusts_migrate SET lock_timeout = '15s';
ALTER ROLE keeptrusts_migrate SET idle_in_transaction_session_timeout = '5min';
