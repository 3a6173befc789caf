-- What clients log in with instead of a password (internal/auth, XEP-0484).

-- +goose Up
CREATE TABLE fast_tokens (
    localpart TEXT NOT NULL,                -- of a local account or one of the directory
    client    TEXT NOT NULL,                -- id of the user agent
    current   INTEGER NOT NULL,             -- 1: was used; 0: issued and not used yet
    mechanism TEXT NOT NULL,
    token     TEXT NOT NULL,                -- the mechanism's key, so it cannot be a hash
    issued    INTEGER NOT NULL,             -- Unix seconds
    expiry    INTEGER NOT NULL,
    count     INTEGER NOT NULL DEFAULT 0,   -- the highest that was used with it
    PRIMARY KEY (localpart, client, current)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE fast_tokens;
