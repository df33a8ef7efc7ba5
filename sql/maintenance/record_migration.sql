-- maintenance/record_migration
-- Records that a migration was applied.
-- $1 name text  the file's name
-- $2 checksum text  SHA-256 of the file, in hexadecimal
INSERT INTO schema_migrations (name, checksum)
VALUES ($1, $2);
