-- Contact lists (xmpp/roster, RFC 6121 §2).

-- +goose Up
CREATE TABLE roster_items (
    owner        TEXT NOT NULL,             -- bare JID
    jid          TEXT NOT NULL,
    name         TEXT NOT NULL,
    groups       TEXT NOT NULL,             -- JSON array of strings
    subscription INTEGER NOT NULL,          -- 0 none, 1 to, 2 from, 3 both
    ask          INTEGER NOT NULL,          -- the owner has asked and waits
    pending_in   INTEGER NOT NULL,          -- the contact has asked and waits
    request      BLOB,                      -- the presence by which the contact asked
    approved     INTEGER NOT NULL,          -- granted before it is asked for (RFC 6121 §3.4)
    listed       INTEGER NOT NULL,          -- shown to the owner
    PRIMARY KEY (owner, jid)
) STRICT, WITHOUT ROWID;

CREATE TABLE roster_versions (
    owner   TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE roster_versions;
DROP TABLE roster_items;
