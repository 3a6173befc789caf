package rtc

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// sealer encrypts what a transport sends. Both methods append to to, and b is left as it is.
type sealer interface {
	// rtp takes a packet whose header has head bytes; roc is how often its sequence number went round (RFC 3711 §3.3.1).
	rtp(to, b []byte, head int, roc uint32) ([]byte, error)
	rtcp(to, b []byte) ([]byte, error)
}

// newSealer is that of a profile's master key and salt.
func newSealer(k *srtp.Config) (sealer, error) {
	switch k.Profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		return newGCM(k.Keys.LocalMasterKey, k.Keys.LocalMasterSalt)
	}
	c, err := srtp.CreateContext(k.Keys.LocalMasterKey, k.Keys.LocalMasterSalt, k.Profile)
	return &general{c: c}, err
}

// general is any profile, by a library that parses each packet again and looks its SSRC up.
type general struct {
	c       *srtp.Context
	hdr     rtp.Header
	rtcpHdr rtcp.Header
}

func (g *general) rtp(to, b []byte, _ int, _ uint32) ([]byte, error) {
	out, err := g.c.EncryptRTP(to[len(to):], b, &g.hdr)
	return to[:len(to)+len(out)], err
}

func (g *general) rtcp(to, b []byte) ([]byte, error) {
	out, err := g.c.EncryptRTCP(to[len(to):], b, &g.rtcpHdr)
	return to[:len(to)+len(out)], err
}

// gcm is AES-GCM (RFC 7714) for packets of which we know where what stands: a third less than general takes for them.
type gcm struct {
	media, control         cipher.AEAD
	mediaSalt, controlSalt [gcmSalt]byte
	index                  uint32 // of the last RTCP packet
	nonce                  [gcmSalt]byte
	with                   [12]byte // what RTCP authenticates and does not encrypt
}

const gcmSalt = 12

// Labels of session keys (RFC 3711 §4.3.2).
const (
	labelMedia, labelMediaSalt     = 0, 2
	labelControl, labelControlSalt = 3, 5
)

func newGCM(key, salt []byte) (*gcm, error) {
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("rtc: SRTP: %w", err)
	}
	g := &gcm{}
	copy(g.mediaSalt[:], sessionKey(master, salt, labelMediaSalt, gcmSalt))
	copy(g.controlSalt[:], sessionKey(master, salt, labelControlSalt, gcmSalt))
	if g.media, err = newAEAD(sessionKey(master, salt, labelMedia, len(key))); err == nil {
		g.control, err = newAEAD(sessionKey(master, salt, labelControl, len(key)))
	}
	return g, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// sessionKey derives a key, or a salt, of n bytes: RFC 3711 §4.3.3, with a salt that is filled up with zeros (RFC 7714 §11).
func sessionKey(master cipher.Block, salt []byte, label byte, n int) []byte {
	var iv [aes.BlockSize]byte
	copy(iv[:], salt)
	iv[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(master, iv[:]).XORKeyStream(out, out)
	return out
}

// rtp implements sealer: the nonce is that of RFC 7714 §8.1.
func (g *gcm) rtp(to, b []byte, head int, roc uint32) ([]byte, error) {
	be := binary.BigEndian
	n := g.nonce[:]
	n[0], n[1] = 0, 0
	copy(n[2:6], b[8:12])
	be.PutUint32(n[6:], roc)
	copy(n[10:], b[2:4])
	salted(n, &g.mediaSalt)
	return g.media.Seal(append(to, b[:head]...), n, b[head:], b[:head]), nil
}

// rtcp implements sealer: the nonce is that of RFC 7714 §9.1. The index stands at the end, with a bit that says that all but the first eight bytes is encrypted.
func (g *gcm) rtcp(to, b []byte) ([]byte, error) {
	be := binary.BigEndian
	g.index = (g.index + 1) &^ (1 << 31)
	word := g.index | 1<<31
	n := g.nonce[:]
	n[0], n[1] = 0, 0
	copy(n[2:6], b[4:8])
	n[6], n[7] = 0, 0
	be.PutUint32(n[8:], g.index)
	salted(n, &g.controlSalt)
	copy(g.with[:8], b)
	be.PutUint32(g.with[8:], word)
	return be.AppendUint32(g.control.Seal(append(to, b[:8]...), n, b[8:], g.with[:]), word), nil
}

func salted(n []byte, salt *[gcmSalt]byte) {
	for i := range salt {
		n[i] ^= salt[i]
	}
}
