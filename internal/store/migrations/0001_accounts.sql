-- Local accounts (internal/auth). No password is kept, only what SCRAM needs (RFC 5802 §3).

-- +goose Up
CREATE TABLE accounts (
    localpart TEXT PRIMARY KEY NOT NULL, -- prepared: UsernameCaseMapped (RFC 8265 §3.3)
    disabled  INTEGER NOT NULL DEFAULT 0,
    created   INTEGER NOT NULL            -- Unix seconds
) STRICT, WITHOUT ROWID;

CREATE TABLE account_keys (
    localpart  TEXT NOT NULL REFERENCES accounts (localpart) ON DELETE CASCADE,
    hash       TEXT NOT NULL,             -- SHA-1 or SHA-256
    salt       BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    PRIMARY KEY (localpart, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_aliases (
    alias     TEXT PRIMARY KEY NOT NULL,  -- a mail address, lower case
    localpart TEXT NOT NULL REFERENCES accounts (localpart) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX account_aliases_localpart ON account_aliases (localpart);

-- One secret per store, by purpose; scram-fake keys the salts shown for accounts that do not exist.
CREATE TABLE auth_secrets (
    purpose TEXT PRIMARY KEY NOT NULL,
    secret  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE auth_secrets;
DROP TABLE account_aliases;
DROP TABLE account_keys;
DROP TABLE accounts;
