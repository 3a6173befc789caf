package rtc

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
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

// opener decrypts what a transport gets. Both methods append to to, and b is left as it is.
type opener interface {
	// rtp gives the payload of a packet whose header has head bytes; roc is how often its sequence number went round.
	rtp(to, b []byte, head int, roc uint32) ([]byte, error)
	rtcp(to, b []byte) ([]byte, error)
}

// newOpener is that of a profile's master key and salt of the other side.
func newOpener(k *srtp.Config) (opener, error) {
	switch k.Profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		g, err := newGCM(k.Keys.RemoteMasterKey, k.Keys.RemoteMasterSalt)
		return gcmOpener{g}, err
	}
	c, err := srtp.CreateContext(k.Keys.RemoteMasterKey, k.Keys.RemoteMasterSalt, k.Profile)
	return generalOpener{&general{c: c}}, err
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

// generalOpener is general the other way.
type generalOpener struct{ *general }

func (g generalOpener) rtp(to, b []byte, head int, _ uint32) ([]byte, error) {
	out, err := g.c.DecryptRTP(to[len(to):], b, &g.hdr)
	return out[min(head, len(out)):], err
}

func (g generalOpener) rtcp(to, b []byte) ([]byte, error) {
	return g.c.DecryptRTCP(to[len(to):], b, &g.rtcpHdr)
}

// gcm is AES-GCM (RFC 7714) for packets of which we know where what stands: a third less than general takes for them.
type gcm struct {
	media, control         cipher.AEAD
	mediaSalt, controlSalt [gcmSalt]byte
	index                  uint32 // of the last RTCP packet
	nonce                  [gcmSalt]byte
	with                   [controlHead + 4]byte // what RTCP authenticates and does not encrypt
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

// mediaNonce is that of a packet: RFC 7714 §8.1.
func (g *gcm) mediaNonce(b []byte, roc uint32) []byte {
	n := g.nonce[:]
	n[0], n[1] = 0, 0
	copy(n[2:6], b[8:12])
	binary.BigEndian.PutUint32(n[6:], roc)
	copy(n[10:], b[2:4])
	salted(n, &g.mediaSalt)
	return n
}

// controlNonce is that of an RTCP packet: RFC 7714 §9.1.
func (g *gcm) controlNonce(b []byte, index uint32) []byte {
	n := g.nonce[:]
	n[0], n[1] = 0, 0
	copy(n[2:6], b[4:8])
	n[6], n[7] = 0, 0
	binary.BigEndian.PutUint32(n[8:], index)
	salted(n, &g.controlSalt)
	return n
}

// controlHead is what of an RTCP packet is not encrypted: its beginning.
const controlHead = 8

// encrypted is the bit of the word at the end of an RTCP packet that says that it is; the others are its index (RFC 3711 §3.4).
const encrypted = 1 << 31

// rtp implements sealer.
func (g *gcm) rtp(to, b []byte, head int, roc uint32) ([]byte, error) {
	return g.media.Seal(append(to, b[:head]...), g.mediaNonce(b, roc), b[head:], b[:head]), nil
}

// rtcp implements sealer.
func (g *gcm) rtcp(to, b []byte) ([]byte, error) {
	be := binary.BigEndian
	g.index = (g.index + 1) &^ encrypted
	word := g.index | encrypted
	copy(g.with[:], b[:controlHead])
	be.PutUint32(g.with[controlHead:], word)
	return be.AppendUint32(g.control.Seal(append(to, b[:controlHead]...), g.controlNonce(b, g.index), b[controlHead:], g.with[:]), word), nil
}

// gcmOpener is gcm the other way.
type gcmOpener struct{ *gcm }

func (g gcmOpener) rtp(to, b []byte, head int, roc uint32) ([]byte, error) {
	return g.media.Open(to, g.mediaNonce(b, roc), b[head:], b[:head])
}

func (g gcmOpener) rtcp(to, b []byte) ([]byte, error) {
	k := len(b) - 4
	if k < controlHead+g.control.Overhead() {
		return nil, errShort
	}
	word := binary.BigEndian.Uint32(b[k:])
	nonce := g.controlNonce(b, word&^encrypted)
	if word&encrypted == 0 { // all of it stands before the tag (RFC 7714 §9.3)
		n := k - g.control.Overhead()
		with := append(append([]byte(nil), b[:n]...), b[k:]...)
		_, err := g.control.Open(nil, nonce, b[n:k], with)
		return append(to, b[:n]...), err
	}
	copy(g.with[:], b[:controlHead])
	copy(g.with[controlHead:], b[k:])
	return g.control.Open(append(to, b[:controlHead]...), nonce, b[controlHead:k], g.with[:])
}

var errShort = errors.New("rtc: SRTCP packet is cut short")

func salted(n []byte, salt *[gcmSalt]byte) {
	for i := range salt {
		n[i] ^= salt[i]
	}
}
