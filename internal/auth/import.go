package auth

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Imported is an account that another server or store had: with a password, or with the keys that SCRAM made of one.
type Imported struct {
	Localpart string
	Password  string   // used when Keys is empty
	Keys      []string // one for each hash that is known, in the form of RFC 5803 §2
	Aliases   []string // mail addresses
}

// Import makes many accounts at once: all, or none. Errors wrap ErrExists, ErrName or ErrPassword.
func (l *Local) Import(ctx context.Context, accounts []Imported) error {
	type row struct {
		local   string
		aliases []string
		all     map[string]keys
	}
	rows := make([]row, len(accounts))
	for i, a := range accounts {
		local, err := PrepareLocalpart(a.Localpart)
		if err != nil {
			return err
		}
		var all map[string]keys
		if len(a.Keys) == 0 {
			all, err = l.deriveAll(ctx, a.Password)
		} else {
			all, err = parseKeys(a.Keys)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.Localpart, err)
		}
		aliases, err := prepareAliases(a.Aliases)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Localpart, err)
		}
		rows[i] = row{local, aliases, all}
	}
	return l.changeKeys(ctx, func(tx *sql.Tx) error {
		for _, r := range rows {
			n, err := affected(tx.Exec("INSERT INTO accounts (localpart, created) VALUES (?, ?) ON CONFLICT DO NOTHING", r.local, time.Now().Unix()))
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("%w: %s", ErrExists, r.local)
			}
			if err := putAliases(tx, r.local, r.aliases); err != nil {
				return err
			}
			if err := putKeys(tx, r.local, r.all); err != nil {
				return err
			}
		}
		return nil
	})
}

// Keys gives the keys of an account in the form of RFC 5803 §2, none for no local account.
func (l *Local) Keys(ctx context.Context, localpart string) (out []string, err error) {
	b64 := base64.StdEncoding.EncodeToString
	for _, hash := range hashes {
		k, _, err := l.keys(ctx, localpart, hash)
		if errors.Is(err, ErrNoAccount) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
		out = append(out, fmt.Sprintf("SCRAM-%s$%d:%s$%s:%s", hash, k.iterations, b64(k.salt), b64(k.stored), b64(k.server)))
	}
	return out, nil
}

// parseKeys reads keys of some hash at least. What is missing is made at the first login with PLAIN, or by the client (upgrade.go).
func parseKeys(texts []string) (map[string]keys, error) {
	all := make(map[string]keys, len(hashes))
	for _, s := range texts {
		hash, k, err := parseKey(s)
		if err != nil {
			return nil, err
		}
		all[hash] = k
	}
	return all, nil
}

// parseKey reads SCRAM-HASH$ITERATIONS:SALT$STOREDKEY:SERVERKEY (RFC 5803 §2), the last three in base64.
func parseKey(s string) (hash string, k keys, err error) {
	bad := func(what string) (string, keys, error) {
		return "", keys{}, fmt.Errorf("auth: %s in SCRAM keys: want SCRAM-SHA-256$10000:SALT$STOREDKEY:SERVERKEY", what)
	}
	f := strings.Split(s, "$")
	if len(f) != 3 {
		return bad("wrong number of $")
	}
	hash, ok := strings.CutPrefix(f[0], "SCRAM-")
	h, err := newHash(hash)
	if !ok || err != nil {
		return bad("unknown mechanism")
	}
	iter, salt, ok1 := strings.Cut(f[1], ":")
	stored, server, ok2 := strings.Cut(f[2], ":")
	if !ok1 || !ok2 {
		return bad("no colon")
	}
	// Fewer iterations than new passwords get are taken as they are: the password is not known to make better ones.
	if k.iterations, err = strconv.Atoi(iter); err != nil || k.iterations < 1 || k.iterations > maxIterations {
		return bad("number of iterations")
	}
	for _, x := range []struct {
		text string
		to   *[]byte
		size int // 0: any but none
	}{{salt, &k.salt, 0}, {stored, &k.stored, h().Size()}, {server, &k.server, h().Size()}} {
		b, err := base64.StdEncoding.DecodeString(x.text)
		if err != nil || len(b) == 0 || x.size != 0 && len(b) != x.size {
			return bad("base64 or length")
		}
		*x.to = b
	}
	return hash, k, nil
}
