-- Nodes of accounts and of the publish-subscribe service (xmpp/pubsub, XEP-0060, XEP-0163).

-- +goose Up
CREATE TABLE pubsub_nodes (
    id      INTEGER PRIMARY KEY,
    owner   TEXT NOT NULL,                  -- bare JID of an account, or the service's domain
    name    TEXT NOT NULL,
    config  TEXT NOT NULL,                  -- JSON
    creator TEXT NOT NULL,                  -- bare JID
    created INTEGER NOT NULL,               -- Unix milliseconds
    UNIQUE (owner, name)
) STRICT;

CREATE TABLE pubsub_items (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- order of publication; published again means a new one
    node      INTEGER NOT NULL REFERENCES pubsub_nodes (id) ON DELETE CASCADE,
    id        TEXT NOT NULL,
    publisher TEXT NOT NULL,                -- bare JID
    stamp     INTEGER NOT NULL,             -- Unix milliseconds
    xml       BLOB NOT NULL,                -- the payload, empty for none
    UNIQUE (node, id)
) STRICT;
CREATE INDEX pubsub_items_node ON pubsub_items (node, seq);

CREATE TABLE pubsub_affiliations (
    node        INTEGER NOT NULL REFERENCES pubsub_nodes (id) ON DELETE CASCADE,
    jid         TEXT NOT NULL,              -- bare JID
    affiliation TEXT NOT NULL,              -- owner, publisher, publish-only, member, outcast
    PRIMARY KEY (node, jid)
) STRICT, WITHOUT ROWID;

CREATE TABLE pubsub_subscriptions (
    node  INTEGER NOT NULL REFERENCES pubsub_nodes (id) ON DELETE CASCADE,
    jid   TEXT NOT NULL,                    -- bare or full JID
    state TEXT NOT NULL,                    -- subscribed, pending
    subid TEXT NOT NULL,
    PRIMARY KEY (node, jid)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE pubsub_subscriptions;
DROP TABLE pubsub_affiliations;
DROP TABLE pubsub_items;
DROP TABLE pubsub_nodes;
