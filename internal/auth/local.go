package auth

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"konzil/internal/oops"
	"konzil/internal/store"
)

// Config is how accounts are kept and where else they come from.
type Config struct {
	Iterations int        `yaml:"iterations" doc:"PBKDF2 iterations for new local passwords, 10000 or more; each login costs this much CPU time at the client and, with PLAIN, here"`
	LDAP       LDAPConfig `yaml:"ldap" doc:"directory to ask for accounts that are not local; off while urls is empty"`
}

// DefaultConfig has local accounts alone.
func DefaultConfig() Config {
	return Config{Iterations: minIterations, LDAP: defaultLDAPConfig()}
}

// validate checks what the types cannot say; errors are for the operator.
func (c Config) Validate() error {
	if c.Iterations < minIterations || c.Iterations > maxIterations {
		return oops.New("auth", fmt.Sprintf("auth.iterations is %d", c.Iterations), fmt.Sprintf("set it between %d and %d", minIterations, maxIterations), nil)
	}
	return c.LDAP.validate()
}

// Local are the accounts of our own store.
type Local struct {
	db         *store.DB
	domain     string // of the service: NAME@domain may be typed for NAME
	iterations int
	secret     []byte        // keys the fake salts; per store, so that they outlive a restart
	slots      chan struct{} // bounds concurrent PBKDF2 to the number of cores: waiting is cheaper than thrashing

	common atomic.Pointer[[]string] // the hashes that all accounts have keys of

	ok, wrong atomic.Uint64
}

// NewLocal gives the accounts of domain in db. iterations outside minIterations..maxIterations is an error.
func NewLocal(ctx context.Context, db *store.DB, domain string, iterations int) (*Local, error) {
	if iterations < minIterations || iterations > maxIterations {
		return nil, fmt.Errorf("auth: %d iterations", iterations)
	}
	l := &Local{db: db, domain: strings.ToLower(domain), iterations: iterations, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT OR IGNORE INTO auth_secrets (purpose, secret) VALUES ('scram-fake', ?)", randomBytes(32)); err != nil {
			return err
		}
		return tx.QueryRow("SELECT secret FROM auth_secrets WHERE purpose = 'scram-fake'").Scan(&l.secret)
	})
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return l, l.findCommon(ctx)
}

// Mechanisms lists the SASL mechanisms that every local account can use, best first: a client that is offered one and has no keys for it
// would not try another.
func (l *Local) Mechanisms() []string {
	var out []string
	for _, h := range *l.common.Load() {
		out = append(out, "SCRAM-"+h)
	}
	return append(out, "PLAIN")
}

// findCommon looks which hashes all accounts have keys of: all, unless some were imported with keys of one alone.
func (l *Local) findCommon(ctx context.Context) error {
	var common []string
	for _, h := range hashes {
		var lacking int
		if err := l.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM accounts a WHERE NOT EXISTS
			(SELECT 1 FROM account_keys k WHERE k.localpart = a.localpart AND k.hash = ?)`, h).Scan(&lacking); err != nil {
			return fmt.Errorf("auth: %w", err)
		}
		if lacking == 0 {
			common = append(common, h)
		}
	}
	l.common.Store(&common)
	return nil
}

// Localpart resolves what somebody typed as login to a localpart: the localpart itself, with or without the domain of the service, or a
// mail address, without its domain too if that is the service's. ErrNoAccount when nobody has that mail address; a localpart is only
// prepared, not looked up.
func (l *Local) Localpart(ctx context.Context, login string) (string, error) {
	name, domain, mail := strings.Cut(login, "@")
	if mail && !strings.EqualFold(domain, l.domain) {
		return l.alias(ctx, login)
	}
	local, err := PrepareLocalpart(name)
	if err == nil {
		if there, err := l.Exists(ctx, local); there || err != nil {
			return local, err
		}
	}
	if owner, aerr := l.alias(ctx, name+"@"+l.domain); aerr == nil || !isUnknown(aerr) {
		return owner, aerr
	}
	return local, err
}

// alias is whose mail address that is.
func (l *Local) alias(ctx context.Context, mail string) (string, error) {
	alias, err := prepareAlias(mail)
	if err != nil {
		return "", err
	}
	var local string
	err = l.db.Read().QueryRowContext(ctx, "SELECT localpart FROM account_aliases WHERE alias = ?", alias).Scan(&local)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: %s", ErrNoAccount, alias)
	}
	return local, err
}

// SCRAM gives the stored keys of user for one of the hashes (RFC 5802 §3). ok is false for an account that does not
// exist or is disabled; the values are then made up, stable, and of the right length. user may be a mail address; Localpart
// then tells whose session it will be.
func (l *Local) SCRAM(ctx context.Context, user, hash string) (salt []byte, iterations int, storedKey, serverKey []byte, ok bool, err error) {
	local, err := l.Localpart(ctx, user)
	if err == nil {
		var k keys
		var disabled bool
		k, disabled, err = l.keys(ctx, local, hash)
		if err == nil {
			return k.salt, k.iterations, k.stored, k.server, !disabled, nil
		}
	}
	if !isUnknown(err) {
		return nil, 0, nil, nil, false, err
	}
	k, err := fakeKeys(l.secret, hash, strings.ToLower(user), l.iterations)
	return k.salt, k.iterations, k.stored, k.server, false, err
}

// isUnknown tells that err means a name nobody has, rather than that we could not find out.
func isUnknown(err error) bool { return errors.Is(err, ErrNoAccount) || errors.Is(err, ErrName) }

func (l *Local) keys(ctx context.Context, localpart, hash string) (k keys, disabled bool, err error) {
	err = l.db.Read().QueryRowContext(ctx, `SELECT salt, iterations, stored_key, server_key, disabled
		FROM account_keys JOIN accounts USING (localpart) WHERE localpart = ? AND hash = ?`, localpart, hash).
		Scan(&k.salt, &k.iterations, &k.stored, &k.server, &disabled)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoAccount
	}
	return k, disabled, err
}

// CheckPassword compares a password as typed, for PLAIN. user is a localpart or a mail address. An account that does not
// exist costs as much time as one that does.
func (l *Local) CheckPassword(ctx context.Context, user, password string) (localpart string, ok bool, err error) {
	localpart, ok, _, err = l.check(ctx, user, password)
	return localpart, ok, err
}

// check is CheckPassword; known tells that the account is here, so that nobody else need be asked.
func (l *Local) check(ctx context.Context, user, password string) (localpart string, ok, known bool, err error) {
	localpart, err = l.Localpart(ctx, user)
	var k keys
	hash, disabled := nameSHA256, true
	if err == nil {
		hash, k, disabled, err = l.anyKeys(ctx, localpart)
		known = err == nil
	}
	if err != nil {
		if !isUnknown(err) {
			return "", false, false, err
		}
		hash = nameSHA256
		if k, err = fakeKeys(l.secret, hash, user, l.iterations); err != nil {
			return "", false, false, err
		}
	}
	prepared, badPassword := preparePassword(password)
	got, err := l.deriveBounded(ctx, hash, prepared, k)
	if err != nil {
		return "", false, known, err
	}
	if subtle.ConstantTimeCompare(got.stored, k.stored) != 1 || !known || disabled || badPassword != nil {
		l.wrong.Add(1)
		return "", false, known, nil
	}
	l.ok.Add(1)
	return localpart, true, known, l.complete(ctx, localpart, prepared)
}

// anyKeys gives the keys by which a password is checked: of SHA-256, or of what there is.
func (l *Local) anyKeys(ctx context.Context, localpart string) (hash string, k keys, disabled bool, err error) {
	for _, hash = range []string{nameSHA256, nameSHA512, nameSHA1} {
		if k, disabled, err = l.keys(ctx, localpart, hash); !errors.Is(err, ErrNoAccount) {
			break
		}
	}
	return hash, k, disabled, err
}

func (l *Local) deriveBounded(ctx context.Context, hash, password string, k keys) (keys, error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return keys{}, ctx.Err()
	}
	return derive(hash, password, k.salt, k.iterations)
}

// Exists tells whether localpart is an account, disabled or not: what was sent to it is not lost while it is.
func (l *Local) Exists(ctx context.Context, localpart string) (bool, error) {
	local, err := PrepareLocalpart(localpart)
	if err != nil {
		return false, nil
	}
	var one int
	err = l.db.Read().QueryRowContext(ctx, "SELECT 1 FROM accounts WHERE localpart = ?", local).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Enabled tells whether localpart is an account that is not disabled.
func (l *Local) Enabled(ctx context.Context, localpart string) (bool, error) {
	var disabled bool
	err := l.db.Read().QueryRowContext(ctx, "SELECT disabled FROM accounts WHERE localpart = ?", localpart).Scan(&disabled)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && !disabled, err
}

// Stats are counters since the start: password checks that were right and wrong.
func (l *Local) Stats() map[string]uint64 {
	return map[string]uint64{"password_ok": l.ok.Load(), "password_wrong": l.wrong.Load()}
}

// Account is one row of List.
type Account struct {
	Localpart string
	Aliases   []string
	Disabled  bool
	Created   time.Time
}
