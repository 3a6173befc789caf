package auth

import (
	"context"
	"errors"
	"maps"
	"strings"
)

// Combined asks the local accounts first, then the directory. A name that is in both belongs to the local account alone.
type Combined struct {
	local  *Local
	dir    *LDAP
	people *People
}

// NewCombined puts a directory behind the local accounts; people remembers who of it was here.
func NewCombined(local *Local, dir *LDAP, people *People) *Combined {
	return &Combined{local: local, dir: dir, people: people}
}

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
	if err != nil {
		return "", false, err
	}
	if !ok {
		return "", false, c.maybeLeft(ctx, user)
	}
	// Somebody may have typed the mail address of a directory entry whose localpart is also a local account's.
	if taken, err := c.local.Exists(ctx, localpart); taken || err != nil {
		return "", false, err
	}
	ok, err = c.people.loggedIn(ctx, localpart)
	if !ok || err != nil {
		return "", false, err
	}
	c.dir.remember(localpart, true)
	return localpart, true, nil
}

// maybeLeft looks whether a login was refused because its account has left the directory.
func (c *Combined) maybeLeft(ctx context.Context, user string) error {
	name, domain, mail := strings.Cut(user, "@")
	local, err := PrepareLocalpart(name)
	if err != nil || mail && !c.dir.isMailDomain(domain) {
		return nil
	}
	if s, err := c.people.state(ctx, local); err != nil || !s.known || s.gone != 0 {
		return err
	}
	if there, err := c.dir.lookUp(ctx, local); err != nil || there {
		return err
	}
	return c.people.missing(ctx, local)
}

// Exists is true for an account of either that is not shut out. While the directory does not answer, what was known of it holds.
func (c *Combined) Exists(ctx context.Context, localpart string) (bool, error) {
	if ok, err := c.local.Exists(ctx, localpart); ok || err != nil {
		return ok, err
	}
	there, err := c.dir.Exists(ctx, localpart)
	if err == nil && !there {
		return false, nil
	}
	s, serr := c.people.state(ctx, localpart)
	switch {
	case serr != nil:
		return false, serr
	case err != nil && !s.known:
		return false, err
	}
	return !s.disabled && (err == nil || s.gone == 0), nil
}

// Enabled is Exists, but for local accounts that are disabled.
func (c *Combined) Enabled(ctx context.Context, localpart string) (bool, error) {
	if local, err := c.local.Exists(ctx, localpart); local || err != nil {
		ok, eerr := c.local.Enabled(ctx, localpart)
		return ok, errors.Join(err, eerr)
	}
	return c.Exists(ctx, localpart)
}

// Localpart resolves a login by the local accounts, then by the directory.
func (c *Combined) Localpart(ctx context.Context, login string) (string, error) {
	local, err := c.local.Localpart(ctx, login)
	if err == nil {
		if there, err := c.local.Exists(ctx, local); there || err != nil {
			return local, err
		}
	} else if !isUnknown(err) {
		return "", err
	}
	return c.dir.Localpart(ctx, login)
}

// Stats are the counters of both.
func (c *Combined) Stats() map[string]uint64 {
	all := c.local.Stats()
	maps.Copy(all, c.dir.Stats())
	maps.Copy(all, c.people.Stats())
	return all
}

// Close closes the connections to the directory.
func (c *Combined) Close() { c.dir.Close() }
