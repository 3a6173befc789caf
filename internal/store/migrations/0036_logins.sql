-- +goose Up
CREATE TABLE logins (
    account TEXT NOT NULL PRIMARY KEY, -- bare JID
    at      INTEGER NOT NULL           -- of the last one, Unix seconds
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE logins;
