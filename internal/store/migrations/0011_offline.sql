-- Messages that wait for who is offline (xmpp/ext, XEP-0160).

-- +goose Up
CREATE TABLE offline_messages (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,                    -- bare JID
    stamp INTEGER NOT NULL,                 -- Unix milliseconds of arrival
    xml   BLOB NOT NULL
) STRICT;
CREATE INDEX offline_messages_owner ON offline_messages (owner, id);

-- +goose Down
DROP TABLE offline_messages;
