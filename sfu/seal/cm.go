package seal

import (
	"crypto/hmac"
	"crypto/sha1" // what the profile says
	"encoding/binary"
	"fmt"
	"hash"

	"konzil/sfu/seal/aesgcm"
)

// Sizes of AES_CM_128_HMAC_SHA1_80 (RFC 3711 §4.2, §5.2).
const (
	cmSalt  = 14
	authKey = 20
)

// counterMode is AES-CM with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1) for one direction, without an allocation.
type counterMode struct {
	cipher counterCipher
	mac    hash.Hash
	tag    int
	roc    [4]byte
	sum    [sha1.Size]byte
}

// counterCipher appends the payload of a packet, encrypted, to dst, which has MaxOverhead bytes more room than that takes.
type counterCipher interface {
	append(dst, payload []byte, ssrc uint32, index uint64) []byte
}

func newCounterMode(k Keys, tag int) (*counterMode, error) {
	key, err := derive(labelRTPKey, k, len(k.Key))
	if err != nil {
		return nil, err
	}
	auth, err := derive(labelRTPAuth, k, authKey)
	if err != nil {
		return nil, err
	}
	salt, err := derive(labelRTPSalt, k, cmSalt)
	if err != nil {
		return nil, err
	}
	c := &counterMode{tag: tag, mac: hmac.New(sha1.New, auth)}
	if aesgcm.Accelerated() {
		c.cipher, err = newVectorCounter(key, salt)
	} else {
		c.cipher, err = newGCMCounter(key, salt)
	}
	return c, err
}

// seal appends the encrypted payload and the tag to the header dst, which has room for them and for GCM's tag.
func (c *counterMode) seal(dst, payload []byte, ssrc uint32, index uint64) []byte {
	dst = c.cipher.append(dst, payload, ssrc, index)
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	c.mac.Reset()
	_, _ = c.mac.Write(dst)
	_, _ = c.mac.Write(c.roc[:])
	return append(dst, c.mac.Sum(c.sum[:0])[:c.tag]...)
}

// vectorCounter is counter mode by package aesgcm.
type vectorCounter struct {
	ctr  *aesgcm.Counter
	salt [16]byte
	iv   [16]byte
}

func newVectorCounter(key, salt []byte) (*vectorCounter, error) {
	ctr, err := aesgcm.NewCounter(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	c := &vectorCounter{ctr: ctr}
	copy(c.salt[:], salt)
	return c, nil
}

// append counts from (salt · 2^16) + (SSRC · 2^64) + (index · 2^16) on (RFC 3711 §4.1.1).
func (c *vectorCounter) append(dst, payload []byte, ssrc uint32, index uint64) []byte {
	copy(c.iv[:4], c.salt[:])
	binary.BigEndian.PutUint32(c.iv[4:], binary.BigEndian.Uint32(c.salt[4:])^ssrc)
	binary.BigEndian.PutUint64(c.iv[8:], binary.BigEndian.Uint64(c.salt[8:])^index<<16)
	n := len(dst)
	dst = dst[:n+len(payload)]
	c.ctr.XOR(dst[n:], payload, &c.iv)
	return dst
}
