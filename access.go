package main

import (
	"context"

	"konzil/internal/auth"
	"konzil/xmpp/ext"
)

// accessStore is auth.Tokens as xmpp/ext asks it.
type accessStore struct{ tokens *auth.Tokens }

func (a accessStore) AccessClients(ctx context.Context, localpart string) ([]ext.AccessClient, error) {
	list, err := a.tokens.Clients(ctx, localpart)
	var out []ext.AccessClient
	for _, c := range list {
		out = append(out, ext.AccessClient{ID: c.ID, Issued: c.Issued})
	}
	return out, err
}

func (a accessStore) RevokeAccess(ctx context.Context, localpart, id string) error {
	return a.tokens.Revoke(ctx, localpart, id)
}
