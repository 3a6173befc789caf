package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	// existsFor is how long the answer of Exists is remembered: each message to an absent person asks it.
	existsFor = time.Minute
	// maxRemembered bounds that memory and the one of wrong passwords; the entry that goes is any one.
	maxRemembered = 10_000
)

// ErrTooManyWrong is returned instead of asking the directory for an account with too many wrong passwords.
var ErrTooManyWrong = errors.New("auth: too many wrong passwords for this account, try later")

// LDAP are the accounts of a directory.
type LDAP struct {
	cfg  LDAPConfig
	pool *pool
	log  *slog.Logger
	now  func() time.Time

	mailDomains []string  // the service's own is among them
	mappings    []mapping // of the vcard

	mu     sync.Mutex            // guards the two maps
	exists map[string]remembered // by localpart
	wrong  map[string]wrongCount // by localpart

	okN, wrongN, refusedN, failedN atomic.Uint64
}

type remembered struct {
	is    bool
	until time.Time
}

type wrongCount struct {
	n     int
	since time.Time
}

// NewLDAP checks cfg and gives the directory's accounts for the service at domain. It connects when first asked, so that a directory that is away does
// not keep the server from starting.
func NewLDAP(cfg LDAPConfig, domain string, log *slog.Logger) (*LDAP, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p, err := newPool(cfg, log)
	if err != nil {
		return nil, err
	}
	return &LDAP{
		cfg: cfg, pool: p, log: log, now: time.Now, mailDomains: append([]string{domain}, cfg.MailDomains...), mappings: cfg.People.mappings(),
		exists: map[string]remembered{}, wrong: map[string]wrongCount{},
	}, nil
}

// Close closes the connections.
func (d *LDAP) Close() { d.pool.close() }

// Mechanisms is PLAIN: a directory checks passwords, it does not tell keys.
func (d *LDAP) Mechanisms() []string { return []string{"PLAIN"} }

// CheckPassword finds the one entry that has user in a login attribute and binds as it. An empty password is refused before anything
// else: a directory would take it for an anonymous bind and say yes (RFC 4513 §5.1.2).
func (d *LDAP) CheckPassword(ctx context.Context, user, password string) (localpart string, ok bool, err error) {
	prepared, badPassword := preparePassword(password)
	user, okName := cleanLogin(user)
	if badPassword != nil || !okName {
		d.wrongN.Add(1)
		return "", false, nil
	}
	err = d.pool.with(ctx, func(c *ldap.Conn) (keep bool, err error) {
		var entry *ldap.Entry
		entry, localpart, err = d.find(c, user)
		if err != nil || entry == nil {
			return err == nil, err
		}
		if !d.mayTry(localpart) {
			return true, ErrTooManyWrong
		}
		if err = d.bind(c, entry.DN, prepared); err != nil {
			if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
				err = nil
			}
		} else {
			ok = true
		}
		d.tried(localpart, ok, err)
		if err != nil {
			return false, err
		}
		return d.pool.bindSearcher(c) == nil, nil
	})
	switch {
	case errors.Is(err, ErrTooManyWrong):
		d.refusedN.Add(1)
	case err != nil:
		d.failedN.Add(1)
		err = fmt.Errorf("auth: directory: %w", err)
	case ok:
		d.okN.Add(1)
	default:
		d.wrongN.Add(1)
		localpart = ""
	}
	if err != nil {
		return "", false, err
	}
	return localpart, ok, nil
}

// bind is the only place where a typed password goes to the directory.
func (d *LDAP) bind(c *ldap.Conn, dn, password string) error {
	if dn == "" || password == "" {
		return ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New("empty name or password"))
	}
	return c.Bind(dn, password)
}

// cleanLogin refuses names that no directory has; the rest is escaped where it is used.
func cleanLogin(user string) (string, bool) {
	user = strings.TrimSpace(user)
	if user == "" || len(user) > maxLocalpart || strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return "", false
	}
	return user, true
}

// Exists tells whether an entry has this localpart; the answer may be a minute old.
func (d *LDAP) Exists(ctx context.Context, localpart string) (bool, error) {
	local, err := PrepareLocalpart(localpart)
	if err != nil {
		return false, nil
	}
	d.mu.Lock()
	r, known := d.exists[local]
	d.mu.Unlock()
	if known && d.now().Before(r.until) {
		return r.is, nil
	}
	return d.lookUp(ctx, local)
}

// lookUp is Exists without what is remembered.
func (d *LDAP) lookUp(ctx context.Context, local string) (there bool, err error) {
	if err := d.ask(ctx, func(c *ldap.Conn) error {
		entry, err := d.findLocalpart(c, local)
		there = entry != nil
		return err
	}); err != nil {
		return false, err
	}
	d.remember(local, there)
	return there, nil
}

func (d *LDAP) remember(localpart string, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	makeRoom(d.exists)
	d.exists[localpart] = remembered{is, d.now().Add(existsFor)}
}

// Localpart gives the localpart of the entry that a login is for; ErrNoAccount when there is none.
func (d *LDAP) Localpart(ctx context.Context, login string) (localpart string, err error) {
	user, ok := cleanLogin(login)
	if !ok {
		return "", fmt.Errorf("%w: %q", ErrName, login)
	}
	err = d.ask(ctx, func(c *ldap.Conn) (err error) {
		_, localpart, err = d.find(c, user)
		return err
	})
	if err == nil && localpart == "" {
		err = fmt.Errorf("%w: %s", ErrNoAccount, login)
	}
	return localpart, err
}

func makeRoom[V any](m map[string]V) {
	if len(m) < maxRemembered {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

// mayTry counts one wrong password ahead of the bind, so that simultaneous tries cannot pass the limit together; tried takes
// it back when it was not one.
func (d *LDAP) mayTry(localpart string) bool {
	if d.cfg.MaxWrong <= 0 {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w, found := d.wrong[localpart]
	if !found || d.now().Sub(w.since) >= d.cfg.WrongWindow {
		w = wrongCount{since: d.now()}
	}
	if w.n >= d.cfg.MaxWrong {
		return false
	}
	if !found {
		makeRoom(d.wrong)
	}
	w.n++
	d.wrong[localpart] = w
	return true
}

// tried notes the outcome of a bind: a right password clears the count, an error of the directory itself counts for nothing.
func (d *LDAP) tried(localpart string, ok bool, err error) {
	if !ok && err == nil {
		return // counted already
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w, found := d.wrong[localpart]
	if ok || w.n <= 1 {
		delete(d.wrong, localpart)
	} else if found {
		w.n--
		d.wrong[localpart] = w
	}
}

// Stats are counters since the start: logins the directory said yes and no to, logins refused without asking it, questions
// it did not answer.
func (d *LDAP) Stats() map[string]uint64 {
	return map[string]uint64{
		"ldap_ok":      d.okN.Load(),
		"ldap_wrong":   d.wrongN.Load(),
		"ldap_refused": d.refusedN.Load(),
		"ldap_failed":  d.failedN.Load(),
	}
}
