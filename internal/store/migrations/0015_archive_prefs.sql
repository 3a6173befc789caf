-- What people want in their archives (xmpp/mam, XEP-0441).

-- +goose Up
CREATE TABLE archive_prefs (
    owner TEXT PRIMARY KEY,                 -- bare JID
    prefs BLOB NOT NULL                     -- JSON
) STRICT;

-- +goose Down
DROP TABLE archive_prefs;
