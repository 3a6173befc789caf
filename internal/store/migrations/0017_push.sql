-- Clients that want to be woken (xmpp/push, XEP-0357).

-- +goose Up
CREATE TABLE push_clients (
    owner    TEXT NOT NULL,                 -- bare JID
    service  TEXT NOT NULL,                 -- JID of the app server
    node     TEXT NOT NULL,
    resource TEXT NOT NULL,                 -- of the session that asked for it
    options  BLOB,                          -- publish-options form to pass on
    PRIMARY KEY (owner, service, node)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE push_clients;
