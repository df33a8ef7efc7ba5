-- maintenance/create_schema_migrations
-- Makes the table that remembers which migrations were applied, if it isn't there.
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text NOT NULL,
    -- SHA-256 of the file, in hexadecimal: an edited file is found out.
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT statement_timestamp(),

    CONSTRAINT schema_migrations_pkey PRIMARY KEY (name)
);
