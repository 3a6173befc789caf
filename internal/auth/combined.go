package auth

import (
	"context"
	"maps"
)

// Combined asks the local accounts first, then the directory. A name that is in both belongs to the local account alone.
type Combined struct {
	local *Local
	dir   *LDAP
}

// NewCombined puts a directory behind the local accounts.
func NewCombined(local *Local, dir *LDAP) *Combined { return &Combined{local: local, dir: dir} }

// Mechanisms is PLAIN alone: a directory never tells the keys that SCRAM needs, and all people must be able to log in by
// what is offered.
func (c *Combined) Mechanisms() []string { return c.dir.Mechanisms() }

// SCRAM knows the local accounts only.
func (c *Combined) SCRAM(ctx context.Context, user, hash string) (salt []byte, iterations int, storedKey, serverKey []byte, ok bool, err error) {
	return c.local.SCRAM(ctx, user, hash)
}

// CheckPassword asks the directory when the local accounts do not know the user.
func (c *Combined) CheckPassword(ctx context.Context, user, password string) (localpart string, ok bool, err error) {
	localpart, ok, known, err := c.local.check(ctx, user, password)
	if ok || known || err != nil {
		return localpart, ok, err
	}
	localpart, ok, err = c.dir.CheckPassword(ctx, user, password)
	if !ok || err != nil {
		return "", false, err
	}
	// Somebody may have typed the mail address of a directory entry whose localpart is also a local account's.
	if taken, err := c.local.Exists(ctx, localpart); taken || err != nil {
		return "", false, err
	}
	return localpart, true, nil
}

// Exists is true for an account of either.
func (c *Combined) Exists(ctx context.Context, localpart string) (bool, error) {
	if ok, err := c.local.Exists(ctx, localpart); ok || err != nil {
		return ok, err
	}
	return c.dir.Exists(ctx, localpart)
}

// Localpart resolves a login by the local accounts; the directory's mail addresses are resolved by CheckPassword.
func (c *Combined) Localpart(ctx context.Context, login string) (string, error) {
	return c.local.Localpart(ctx, login)
}

// Stats are the counters of both.
func (c *Combined) Stats() map[string]uint64 {
	all := c.local.Stats()
	maps.Copy(all, c.dir.Stats())
	return all
}

// Close closes the connections to the directory.
func (c *Combined) Close() { c.dir.Close() }
