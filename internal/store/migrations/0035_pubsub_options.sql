-- +goose Up
ALTER TABLE pubsub_subscriptions ADD COLUMN options TEXT NOT NULL DEFAULT ''; -- JSON; empty: as the node gives

-- +goose Down
ALTER TABLE pubsub_subscriptions DROP COLUMN options;
