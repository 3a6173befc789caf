// Package seal protects and opens SRTP and SRTCP (RFC 3711, RFC 7714) for one DTLS session.
//
// Sealer writes for one peer. With AES-GCM it seals straight from a shared payload into the caller's arena: header and
// nonce are per receiver, the payload is read where it lies, so the copy is part of the encryption. AES-CM does the same in cm.go;
// SRTCP goes through pion/srtp. Opener reads from one peer, with replay protection, through pion/srtp.
//
// Under GCM a nonce used twice gives the authentication key away (NIST SP 800-38D §8), and the nonce is made of SSRC and
// packet index: Index hands out each index of an SSRC once and refuses the second time.
//
// Nothing here starts a goroutine or takes a lock; a Sealer and an Opener belong to one owner each.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/sfu/prefetch"
	"konzil/sfu/seal/aesgcm"
)

// MaxOverhead is the most bytes that protection adds to an RTP packet: the GCM tag.
const MaxOverhead = 16

// replayWindow is in packets: a 4 Mb/s sender's second of reordering.
const replayWindow = 512

// ErrShort is given for a destination without room.
var ErrShort = errors.New("seal: destination too short")

// Keys are one direction's master key and salt, from the DTLS exporter (RFC 5764 §4.2).
type Keys struct{ Key, Salt []byte }

// Sealer protects what goes to one peer.
type Sealer struct {
	gcm  cipher.AEAD
	salt [12]byte
	iv   [12]byte
	cm   *counterMode // RTP of profiles without GCM, nil with it
	rtcp *srtp.Context
}

// NewSealer derives the session keys of a profile.
func NewSealer(profile srtp.ProtectionProfile, k Keys) (*Sealer, error) {
	s := &Sealer{}
	var err error
	if s.rtcp, err = srtp.CreateContext(k.Key, k.Salt, profile); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	switch profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		key, err := derive(0x00, k, len(k.Key))
		if err != nil {
			return nil, err
		}
		salt, err := derive(0x02, k, len(s.salt))
		if err != nil {
			return nil, err
		}
		copy(s.salt[:], salt)
		if s.gcm, err = aesgcm.New(key); err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
	default:
		tag, err := profile.AuthTagRTPLen()
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		if s.cm, err = newCounterMode(k, tag); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Fetch asks for the memory that RTP is going to need.
func (s *Sealer) Fetch() {
	if s != nil {
		prefetch.Lines(unsafe.Pointer(s), 1)
	}
}

// RTP protects one packet. dst holds the header in its first hdrLen bytes and must have capacity for header, payload and
// MaxOverhead; payload must not overlap dst. index is the 48-bit packet index (ROC and sequence number) from Index.
// It returns the protected packet, a slice of dst.
func (s *Sealer) RTP(dst []byte, hdrLen int, payload []byte, ssrc uint32, index uint64) ([]byte, error) {
	if cap(dst) < hdrLen+len(payload)+MaxOverhead {
		return nil, ErrShort
	}
	dst = dst[:hdrLen]
	if s.gcm == nil {
		return s.cm.seal(dst, payload, ssrc, index), nil
	}
	s.iv = s.salt
	xor32(s.iv[2:], ssrc)
	xor32(s.iv[6:], uint32(index>>16))
	s.iv[10] ^= byte(index >> 8)
	s.iv[11] ^= byte(index)
	return s.gcm.Seal(dst, s.iv[:], payload, dst), nil
}

// RTCP protects a compound packet into dst, which is grown when too small.
func (s *Sealer) RTCP(dst, plain []byte) ([]byte, error) {
	return s.rtcp.EncryptRTCP(dst, plain, nil)
}

// Opener opens what comes from one peer.
type Opener struct {
	ctx *srtp.Context
	hdr rtp.Header
}

// NewOpener derives the session keys of a profile.
func NewOpener(profile srtp.ProtectionProfile, k Keys) (*Opener, error) {
	ctx, err := srtp.CreateContext(k.Key, k.Salt, profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Opener{ctx: ctx}, nil
}

// RTP opens a packet into dst (which may be the packet's own memory) and returns it.
func (o *Opener) RTP(dst, pkt []byte) ([]byte, error) { return o.ctx.DecryptRTP(dst, pkt, &o.hdr) }

// RTCP opens a compound packet into dst.
func (o *Opener) RTCP(dst, pkt []byte) ([]byte, error) { return o.ctx.DecryptRTCP(dst, pkt, nil) }

// derive is the AES-CM key derivation of RFC 3711 §4.3.1 with a key derivation rate of zero.
func derive(label byte, k Keys, n int) ([]byte, error) {
	block, err := aes.NewCipher(k.Key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var in [16]byte
	copy(in[:14], k.Salt)
	in[7] ^= label
	out := make([]byte, 0, n+aes.BlockSize)
	for i := uint16(0); len(out) < n; i++ {
		binary.BigEndian.PutUint16(in[14:], i)
		var b [16]byte
		block.Encrypt(b[:], in[:])
		out = append(out, b[:]...)
	}
	return out[:n], nil
}

func xor32(b []byte, v uint32) {
	b[0] ^= byte(v >> 24)
	b[1] ^= byte(v >> 16)
	b[2] ^= byte(v >> 8)
	b[3] ^= byte(v)
}
