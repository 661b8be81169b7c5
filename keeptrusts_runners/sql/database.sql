-- The database of Keeptrusts Runners: closed to everybody but its own roles. Safe to run again.
-- Run inside the database, by its owner's administrator; roles.sql says how and when.

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO keeptrusts_migrate, keeptrusts_app, '
        'keeptrusts_maintain, keeptrusts_signer, keeptrusts_forensics', current_database()
    );
END
$$;

-- The owner creates here as the database's owner. Nobody else creates anything: TEMPORARY tables
-- went with the privileges on the database.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO keeptrusts_owner;
GRANT USAGE ON SCHEMA public
    TO keeptrusts_app, keeptrusts_maintain, keeptrusts_signer, keeptrusts_forensics;

-- Functions are executable by everybody unless said otherwise; ours are granted one by one.
ALTER DEFAULT PRIVILEGES FOR ROLE keeptrusts_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
