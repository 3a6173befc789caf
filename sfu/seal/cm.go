package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the profile says
	"encoding/binary"
	"fmt"
	"hash"
)

// Sizes of AES_CM_128_HMAC_SHA1_80 (RFC 3711 §4.2, §5.2).
const (
	cmSalt  = 14
	authKey = 20
)

// counterMode is AES-CM with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1) for one direction, without an allocation. The standard library's counter mode
// cannot be set to another counter, and a new one for each packet is an object of 512 bytes; block by block AES-CM costs several times as
// much. AES-GCM is counter mode, too, and takes its counter with each packet: with a nonce of 16 bytes it starts from
// J0 = GHASH(nonce, length) (NIST SP 800-38D §7.1), which is linear in the nonce, so there is a nonce for every counter (ghash.go). GCM's
// tag is computed in vain and overwritten.
type counterMode struct {
	gcm   cipher.AEAD
	nonce nonces
	mac   hash.Hash
	tag   int
	iv    [aes.BlockSize]byte
	roc   [4]byte
	sum   [sha1.Size]byte
}

func newCounterMode(k Keys, tag int) (*counterMode, error) {
	c := &counterMode{tag: tag}
	key, err := derive(0x00, k, len(k.Key))
	if err != nil {
		return nil, err
	}
	auth, err := derive(0x01, k, authKey)
	if err != nil {
		return nil, err
	}
	salt, err := derive(0x02, k, cmSalt)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if c.gcm, err = cipher.NewGCMWithNonceSize(block, aes.BlockSize); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var h [aes.BlockSize]byte
	block.Encrypt(h[:], h[:])
	c.nonce.init(h, salt)
	c.mac = hmac.New(sha1.New, auth)
	return c, nil
}

// seal appends the encrypted payload and the tag to the header dst, which has room for them and for GCM's tag.
func (c *counterMode) seal(dst, payload []byte, ssrc uint32, index uint64) []byte {
	c.nonce.of(&c.iv, ssrc, index)
	n := len(dst) + len(payload)
	dst = c.gcm.Seal(dst, c.iv[:], payload, nil)[:n]
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	c.mac.Reset()
	_, _ = c.mac.Write(dst)
	_, _ = c.mac.Write(c.roc[:])
	return append(dst, c.mac.Sum(c.sum[:0])[:c.tag]...)
}
