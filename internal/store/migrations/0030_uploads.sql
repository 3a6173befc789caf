-- Files that people have uploaded (xmpp/upload, XEP-0363); the bytes are files in the data folder.

-- +goose Up
CREATE TABLE uploads (
    id      TEXT PRIMARY KEY,               -- 128 random bits, the name of the file on disk
    owner   TEXT NOT NULL,                  -- bare JID
    name    TEXT NOT NULL,                  -- as its owner calls it
    type    TEXT NOT NULL,                  -- media type, may be empty
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,               -- Unix seconds
    expires INTEGER                         -- NULL: never
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_owner ON uploads (owner, size);
CREATE INDEX uploads_expires ON uploads (expires) WHERE expires IS NOT NULL;

-- +goose Down
DROP TABLE uploads;
