-- Invitations that are not used yet (xmpp/register, XEP-0401).

-- +goose Up
CREATE TABLE invitations (
    token   TEXT PRIMARY KEY NOT NULL,
    inviter TEXT NOT NULL,                  -- bare JID, '' for the operator
    name    TEXT NOT NULL,                  -- localpart kept for it, '' for any
    account INTEGER NOT NULL,               -- 1: it makes an account
    until   INTEGER NOT NULL                -- Unix seconds
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE invitations;
