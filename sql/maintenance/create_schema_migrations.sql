-- maintenance/create_schema_migrations
-- Creates the table of applied migrations, if it does not exist.
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text NOT NULL,
    -- SHA-256 of the file, in hexadecimal: it shows whether the file was edited.
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT statement_timestamp(),

    CONSTRAINT schema_migrations_pkey PRIMARY KEY (name)
);
