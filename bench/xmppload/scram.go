package xmppload

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // SCRAM-SHA-1 is what all servers have
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// keyCache keeps what PBKDF2 gave, by account and what the server asked for: a person's client does so too, and the generator must not be what is
// measured.
type keyCache struct {
	mu sync.Mutex // guards m
	m  map[string][]byte
}

func (k *keyCache) salted(h func() hash.Hash, id, password string, salt []byte, iterations int) ([]byte, error) {
	key := id + "\x00" + string(salt) + "\x00" + strconv.Itoa(iterations)
	k.mu.Lock()
	v := k.m[key]
	k.mu.Unlock()
	if v != nil {
		return v, nil
	}
	v, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string][]byte{}
	}
	k.m[key] = v
	return v, nil
}

// scram is the client's side of RFC 5802 without channel binding.
type scram struct {
	mechanism string // SCRAM-SHA-1 or SCRAM-SHA-256
	user      string
	password  string
	cache     *keyCache

	bare   string
	server string // what the server must prove, base64
}

func (s *scram) hash() func() hash.Hash {
	if s.mechanism == "SCRAM-SHA-256" {
		return sha256.New
	}
	return sha1.New
}

// first is the client-first-message, base64.
func (s *scram) first() string {
	var nonce [18]byte
	_, _ = rand.Read(nonce[:]) // never fails
	s.bare = "n=" + s.user + ",r=" + base64.RawStdEncoding.EncodeToString(nonce[:])
	return base64.StdEncoding.EncodeToString([]byte("n,," + s.bare))
}

// final is the client-final-message for the server's challenge, both base64.
func (s *scram) final(challenge string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", fmt.Errorf("xmppload: SCRAM challenge: %w", err)
	}
	var salt []byte
	var nonce string
	iterations := 0
	for _, p := range strings.Split(string(b), ",") {
		switch k, v, _ := strings.Cut(p, "="); k {
		case "r":
			nonce = v
		case "s":
			salt, err = base64.StdEncoding.DecodeString(v)
		case "i":
			iterations, err = strconv.Atoi(v)
		}
		if err != nil {
			return "", fmt.Errorf("xmppload: SCRAM challenge: %w", err)
		}
	}
	if nonce == "" || len(salt) == 0 || iterations < 1 {
		return "", errors.New("xmppload: SCRAM challenge lacks something")
	}
	h := s.hash()
	salted, err := s.cache.salted(h, s.mechanism+"\x00"+s.password, s.password, salt, iterations)
	if err != nil {
		return "", err
	}
	plain := "c=biws,r=" + nonce
	auth := s.bare + "," + string(b) + "," + plain
	client := mac(h, salted, "Client Key")
	sum := h()
	sum.Write(client)
	proof := mac(h, sum.Sum(nil), auth)
	subtle.XORBytes(proof, proof, client)
	s.server = base64.StdEncoding.EncodeToString(mac(h, mac(h, salted, "Server Key"), auth))
	return base64.StdEncoding.EncodeToString([]byte(plain + ",p=" + base64.StdEncoding.EncodeToString(proof))), nil
}

// verify checks that the server knows the password too.
func (s *scram) verify(success string) error {
	b, err := base64.StdEncoding.DecodeString(success)
	if err != nil || string(b) != "v="+s.server {
		return errors.New("xmppload: the server does not prove that it knows the password")
	}
	return nil
}

func mac(h func() hash.Hash, key []byte, msg string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(msg))
	return m.Sum(nil)
}
