-- Avatars of rooms (xmpp/muc, XEP-0486).

-- +goose Up
CREATE TABLE muc_vcards (
    room TEXT PRIMARY KEY NOT NULL REFERENCES muc_rooms (room) ON DELETE CASCADE,
    xml  BLOB NOT NULL
) STRICT;

-- +goose Down
DROP TABLE muc_vcards;
