package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Names of hashes as SCRAM mechanisms and the store write them.
const (
	nameSHA1   = "SHA-1"
	nameSHA256 = "SHA-256"
	nameSHA512 = "SHA-512"
)

// hashes are those that new passwords get keys of, the best first.
var hashes = [...]string{nameSHA512, nameSHA256, nameSHA1}

const (
	// minIterations is the least that is accepted: RFC 7677 §4 asks for at least 4096, XEP-0438 §3.4 for 10000.
	minIterations = 10_000
	// maxIterations bounds what one login may cost (about half a second of one core).
	maxIterations = 2_000_000

	saltLen = 16 // bytes; as long as the keys of the search space that it must spread
)

// keys are what the server keeps of a password (RFC 5802 §3).
type keys struct {
	salt       []byte
	iterations int
	stored     []byte
	server     []byte
}

func newHash(name string) (func() hash.Hash, error) {
	switch name {
	case nameSHA1:
		return sha1.New, nil
	case nameSHA256:
		return sha256.New, nil
	case nameSHA512:
		return sha512.New, nil
	}
	return nil, fmt.Errorf("auth: no SCRAM with %q", name)
}

// derive computes StoredKey and ServerKey of a prepared password.
//
//	SaltedPassword := Hi(Normalize(password), salt, i)
//	ClientKey      := HMAC(SaltedPassword, "Client Key")
//	StoredKey      := H(ClientKey)
//	ServerKey      := HMAC(SaltedPassword, "Server Key")
func derive(hashName, password string, salt []byte, iterations int) (keys, error) {
	h, err := newHash(hashName)
	if err != nil {
		return keys{}, err
	}
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return keys{}, fmt.Errorf("auth: %w", err)
	}
	return keysOf(h, salted, salt, iterations), nil
}

// keysOf computes them of a salted password.
func keysOf(h func() hash.Hash, salted, salt []byte, iterations int) keys {
	sum := h()
	sum.Write(mac(h, salted, "Client Key"))
	return keys{salt: salt, iterations: iterations, stored: sum.Sum(nil), server: mac(h, salted, "Server Key")}
}

// fakeKeys are keys of nobody: always the same for a name, and unlike any other's.
func fakeKeys(secret []byte, hashName, user string, iterations int) (keys, error) {
	h, err := newHash(hashName)
	if err != nil {
		return keys{}, err
	}
	return keys{
		salt:       mac(sha256.New, secret, "salt\x00"+hashName+"\x00"+user)[:saltLen],
		iterations: iterations,
		stored:     mac(sha512.New, secret, "stored\x00"+hashName+"\x00"+user)[:h().Size()],
		server:     mac(sha512.New, secret, "server\x00"+hashName+"\x00"+user)[:h().Size()],
	}, nil
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead (crypto/rand)
	return b
}
