-- A message waits once, also when a kill makes the server hand it over again.

-- +goose Up
ALTER TABLE offline_messages ADD COLUMN archive TEXT; -- its id in the archive of the owner, NULL where that does not have it
CREATE UNIQUE INDEX offline_messages_archive ON offline_messages (owner, archive);

-- +goose Down
DROP INDEX offline_messages_archive;
ALTER TABLE offline_messages DROP COLUMN archive;
