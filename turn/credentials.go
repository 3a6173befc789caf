package turn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"time"

	pion "github.com/pion/turn/v3"
)

// maxRevoked bounds the list of users whose credentials were revoked: as many sessions as end in a day. When it is full the one whose credentials run
// out first is forgotten.
const maxRevoked = 100_000

// credentials knows the users' keys.
type credentials struct {
	realm  string
	secret []byte
	users  map[string]string
	now    func() time.Time

	mu      sync.Mutex       // guards the fields below
	revoked map[string]int64 // user to the latest expiry, Unix time, of the credentials that are
	latest  int64            // of all expiries so far
}

func newCredentials(c Config) *credentials {
	secret := []byte(c.Secret)
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
	}
	return &credentials{realm: c.Realm, secret: secret, users: c.Users, now: time.Now, revoked: map[string]int64{}}
}

// issue makes a credential by draft-uberti-behave-turn-rest-00 §2.2: the name is <Unix time of expiry>:<user>, the password
// base64(HMAC-SHA1(secret, name)). One made after the user's were revoked runs out after those.
func (c *credentials) issue(user string, ttl time.Duration) (username, password string, expires time.Time) {
	c.mu.Lock()
	at := max(c.now().Add(ttl).Unix(), c.revoked[user]+1)
	c.latest = max(c.latest, at)
	c.mu.Unlock()
	username = strconv.FormatInt(at, 10) + ":" + user
	return username, c.password(username), time.Unix(at, 0)
}

func (c *credentials) password(username string) string {
	m := hmac.New(sha1.New, c.secret)
	m.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// key gives the long-term key of username by an algorithm (RFC 8489 §18.5), unless nobody has that name, or it has run out or was revoked.
// The comparison, of a message's integrity, is constant-time.
func (c *credentials) key(a algorithm, username, realm string) ([]byte, bool) {
	password, ok := c.users[username]
	if !ok {
		password, ok = c.password(username), c.good(username)
	}
	if !ok || realm != c.realm {
		return nil, false
	}
	if a == algorithmSHA256 {
		sum := sha256.Sum256([]byte(username + ":" + realm + ":" + password))
		return sum[:], true
	}
	return pion.GenerateAuthKey(username, realm, password), true
}

// good tells whether a time-limited credential's name has neither run out nor been revoked.
func (c *credentials) good(username string) bool {
	at, user, ok := cutName(username)
	if !ok || at <= c.now().Unix() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return at > c.revoked[user]
}

// cutName gives the expiry and the user of a time-limited credential's name.
func cutName(username string) (at int64, user string, ok bool) {
	expiry, user, _ := strings.Cut(username, ":")
	at, err := strconv.ParseInt(expiry, 10, 64)
	return at, user, err == nil
}

// quotaName is what a user's quota is counted under: all credentials of all sessions of a user together.
func quotaName(username string) string {
	if _, user, ok := cutName(username); ok && user != "" {
		user, _, _ = strings.Cut(user, "/")
		return user
	}
	return username
}

// revoke ends all credentials that a user has by now.
func (c *credentials) revoke(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().Unix()
	if c.latest <= now {
		return
	}
	if len(c.revoked) >= maxRevoked {
		first := ""
		for name, t := range c.revoked {
			if t <= now {
				delete(c.revoked, name)
			} else if first == "" || t < c.revoked[first] {
				first = name
			}
		}
		if len(c.revoked) >= maxRevoked {
			delete(c.revoked, first)
		}
	}
	c.revoked[user] = c.latest
}
