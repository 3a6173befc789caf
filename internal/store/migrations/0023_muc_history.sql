-- What is said in rooms is in the archive (0014).

-- +goose Up
DROP TABLE muc_history;

-- +goose Down
CREATE TABLE muc_history (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    room  TEXT NOT NULL REFERENCES muc_rooms (room) ON DELETE CASCADE,
    id    TEXT NOT NULL,
    stamp INTEGER NOT NULL,
    xml   BLOB NOT NULL
) STRICT;
CREATE INDEX muc_history_room ON muc_history (room, seq);
