package turn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"time"

	pion "github.com/pion/turn/v3"
)

// maxRevoked bounds the list of revoked credentials. When it is full the one that runs out first is forgotten.
const maxRevoked = 10_000

// credentials knows the users' keys.
type credentials struct {
	realm  string
	secret []byte
	users  map[string]string
	now    func() time.Time

	mu      sync.Mutex // guards revoked
	revoked map[string]int64
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
// base64(HMAC-SHA1(secret, name)).
func (c *credentials) issue(user string, ttl time.Duration) (username, password string, expires time.Time) {
	expires = time.Unix(c.now().Add(ttl).Unix(), 0)
	username = strconv.FormatInt(expires.Unix(), 10) + ":" + user
	return username, c.password(username), expires
}

func (c *credentials) password(username string) string {
	m := hmac.New(sha1.New, c.secret)
	m.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// key gives the long-term key of username (RFC 8489 §9.2.2), unless nobody has that name, or it has run out or was revoked.
// The comparison, MESSAGE-INTEGRITY, is constant-time.
func (c *credentials) key(username, realm string) ([]byte, bool) {
	if realm != c.realm {
		return nil, false
	}
	if password, ok := c.users[username]; ok {
		return pion.GenerateAuthKey(username, realm, password), true
	}
	expiry, _, _ := strings.Cut(username, ":")
	at, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || at <= c.now().Unix() {
		return nil, false
	}
	c.mu.Lock()
	_, gone := c.revoked[username]
	c.mu.Unlock()
	if gone {
		return nil, false
	}
	return pion.GenerateAuthKey(username, realm, c.password(username)), true
}

// quotaName is what a user's quota is counted under: all credentials of a user together.
func quotaName(username string) string {
	if expiry, user, ok := strings.Cut(username, ":"); ok && user != "" {
		if _, err := strconv.ParseInt(expiry, 10, 64); err == nil {
			return user
		}
	}
	return username
}

func (c *credentials) revoke(username string) {
	expiry, _, _ := strings.Cut(username, ":")
	at, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().Unix()
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
	if at > now {
		c.revoked[username] = at
	}
}
