package seal

import (
	"encoding/binary"

	"konzil/sfu/seal/aesgcm"
	"konzil/sfu/seal/hmacsha1"
)

// Sizes of AES_CM_128_HMAC_SHA1_80 (RFC 3711 §4.2, §5.2).
const (
	cmSalt  = 14
	authKey = 20
)

// Tags are those of packets that Sealer.Later has sealed without: Finish writes them. One list serves the packets of many sealers; it belongs to one owner.
type Tags = hmacsha1.Tags

// counterMode is AES-CM with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1) for one direction, without an allocation.
type counterMode struct {
	tag    int    // bytes; 0: another profile
	hi, lo uint64 // salt · 2^16
	mac    hmacsha1.Key
	slow   *gcmCounter // nil: the key stream is package aesgcm's
}

// init derives the keys. g takes that of the key stream.
func (c *counterMode) init(k Keys, tag int, g *aesgcm.GCM) error {
	key, err := derive(labelRTPKey, k, len(k.Key))
	if err != nil {
		return err
	}
	auth, err := derive(labelRTPAuth, k, authKey)
	if err != nil {
		return err
	}
	salt, err := derive(labelRTPSalt, k, cmSalt)
	if err != nil {
		return err
	}
	c.tag = tag
	c.hi, c.lo = binary.BigEndian.Uint64(salt), binary.BigEndian.Uint64(append(salt, 0, 0)[8:])
	c.mac.Init(auth)
	if aesgcm.Accelerated() {
		return g.Init(key)
	}
	c.slow, err = newGCMCounter(key, salt)
	return err
}

// encrypt appends the encrypted payload to the header dst, which has room for it and for GCM's tag. It counts from
// (salt · 2^16) + (SSRC · 2^64) + (index · 2^16) on (RFC 3711 §4.1.1).
func (c *counterMode) encrypt(g *aesgcm.GCM, dst, payload []byte, ssrc uint32, index uint64) []byte {
	if c.slow != nil {
		return c.slow.append(dst, payload, ssrc, index)
	}
	n := len(dst)
	dst = dst[:n+len(payload)]
	g.XOR(dst[n:], payload, c.hi^uint64(ssrc), c.lo^index<<16)
	return dst
}
