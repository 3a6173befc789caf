-- Persistent rooms (xmpp/muc, XEP-0045).

-- +goose Up
CREATE TABLE muc_rooms (
    room       TEXT PRIMARY KEY NOT NULL,   -- bare JID
    domain     TEXT NOT NULL,
    config     TEXT NOT NULL,               -- JSON
    id_key     BLOB NOT NULL,               -- of occupant ids (XEP-0421)
    created    INTEGER NOT NULL,            -- Unix milliseconds
    subject    TEXT NOT NULL,
    subject_by TEXT NOT NULL,               -- occupant JID, '' for none
    subject_at INTEGER NOT NULL             -- Unix milliseconds
) STRICT, WITHOUT ROWID;
CREATE INDEX muc_rooms_domain ON muc_rooms (domain);

CREATE TABLE muc_affiliations (
    room        TEXT NOT NULL REFERENCES muc_rooms (room) ON DELETE CASCADE,
    jid         TEXT NOT NULL,              -- bare JID
    affiliation TEXT NOT NULL,              -- outcast, member, admin, owner
    nick        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (room, jid)
) STRICT, WITHOUT ROWID;

CREATE TABLE muc_history (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    room  TEXT NOT NULL REFERENCES muc_rooms (room) ON DELETE CASCADE,
    id    TEXT NOT NULL,                    -- stanza id (XEP-0359)
    stamp INTEGER NOT NULL,                 -- Unix milliseconds
    xml   BLOB NOT NULL
) STRICT;
CREATE INDEX muc_history_room ON muc_history (room, seq);

-- +goose Down
DROP TABLE muc_history;
DROP TABLE muc_affiliations;
DROP TABLE muc_rooms;
