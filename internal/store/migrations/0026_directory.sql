-- People of the directory who have used the service (internal/auth).

-- +goose Up
CREATE TABLE directory_people (
    localpart TEXT PRIMARY KEY NOT NULL,
    since     INTEGER NOT NULL,             -- Unix seconds of the first login
    seen      INTEGER NOT NULL,             -- and of the last one with a password
    gone      INTEGER NOT NULL DEFAULT 0,   -- since when the directory has nobody of that name who may log in; 0: it has
    disabled  INTEGER NOT NULL DEFAULT 0,   -- by the operator
    photo     BLOB                          -- SHA-1 of the picture that an avatar was made of
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_people_gone ON directory_people (gone) WHERE gone != 0;

-- +goose Down
DROP TABLE directory_people;
