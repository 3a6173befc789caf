-- Archives of accounts and rooms (internal/archive).

-- +goose Up
CREATE TABLE archive_journal (
    seq  INTEGER PRIMARY KEY,
    body BLOB NOT NULL                      -- messages that are in no chunk yet, as they came
) STRICT;
CREATE TABLE archive_owners (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE               -- bare JID of an account or a room
) STRICT;
CREATE TABLE archive_chunks (
    owner INTEGER NOT NULL REFERENCES archive_owners (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,                 -- ID of the oldest message
    last  INTEGER NOT NULL,                 -- and of the newest
    count INTEGER NOT NULL,
    peers INTEGER NOT NULL,                 -- a bit for each counterpart
    body  BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX archive_chunks_owner ON archive_chunks (owner, first);

-- +goose Down
DROP TABLE archive_chunks;
DROP TABLE archive_owners;
DROP TABLE archive_journal;
