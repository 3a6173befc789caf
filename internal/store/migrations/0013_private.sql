-- What clients keep on the server: private XML (XEP-0049), vcards (XEP-0054), block lists (XEP-0191); xmpp/ext.

-- +goose Up
CREATE TABLE private_xml (
    owner TEXT NOT NULL,                    -- bare JID
    space TEXT NOT NULL,
    local TEXT NOT NULL,
    xml   BLOB NOT NULL,
    PRIMARY KEY (owner, space, local)
) STRICT, WITHOUT ROWID;

CREATE TABLE vcards (
    owner TEXT PRIMARY KEY NOT NULL,
    xml   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE block_lists (
    owner TEXT NOT NULL,
    jid   TEXT NOT NULL,
    PRIMARY KEY (owner, jid)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE block_lists;
DROP TABLE vcards;
DROP TABLE private_xml;
