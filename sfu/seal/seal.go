// Package seal protects and opens SRTP and SRTCP (RFC 3711, RFC 7714) for one DTLS session.
//
// Sealer writes for one peer, Opener reads from one, with replay protection. With AES-GCM (aead.go) RTP is sealed straight from a shared payload
// into the caller's arena: header and nonce are per receiver, the payload is read where it lies, so the copy is part of the encryption. Package
// aesgcm has the cipher. What is sent with AES-CM takes the same way (cm.go); its SRTCP and what is received go through pion/srtp. Its tags are SHA-1,
// which is several times faster for many packets together: Sealer.Later leaves the tag to a list, Tags, which is finished before anything is sent
// (package hmacsha1).
//
// Under GCM a nonce used twice gives the authentication key away (NIST SP 800-38D §8), and the nonce is made of SSRC and
// packet index: Index hands out each index of an SSRC once and refuses the second time. Opener uses it the other way round.
//
// Nothing here starts a goroutine or takes a lock; a Sealer and an Opener belong to one owner each.
package seal

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/sfu/prefetch"
)

// MaxOverhead is the most bytes that protection adds to an RTP packet: the GCM tag.
const MaxOverhead = 16

// replayWindow is in packets: a 4 Mb/s sender's second of reordering.
const replayWindow = 512

// Why a packet was not sealed or opened.
var (
	ErrShort     = errors.New("seal: destination too short")
	ErrMalformed = errors.New("seal: not an RTP or RTCP packet")
	ErrReplay    = errors.New("seal: seen before, or too old to know")
	ErrAuth      = errors.New("seal: not authentic")
	ErrTooMany   = errors.New("seal: too many SSRCs")
)

// Keys are one direction's master key and salt, from the DTLS exporter (RFC 5764 §4.2).
type Keys struct{ Key, Salt []byte }

// Sealer protects what goes to one peer.
type Sealer struct {
	// What each packet needs comes first, sealerLines cache lines.
	gcm  aead        // RTP; of profiles without GCM only the cipher, which makes the key stream
	cm   counterMode // RTP of profiles without GCM
	rtcp rtcpSealer
	pion *srtp.Context // SRTCP of profiles without GCM, nil with it
}

// NewSealer derives the session keys of a profile.
func NewSealer(profile srtp.ProtectionProfile, k Keys) (*Sealer, error) {
	s := &Sealer{}
	if isGCM(profile) {
		s.rtcp.index = map[uint32]uint32{}
		if err := s.gcm.init(k, labelRTPKey, labelRTPSalt); err != nil {
			return nil, err
		}
		return s, s.rtcp.init(k, labelRTCPKey, labelRTCPSalt)
	}
	var err error
	if s.pion, err = srtp.CreateContext(k.Key, k.Salt, profile); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	tag, err := profile.AuthTagRTPLen()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return s, s.cm.init(k, tag, &s.gcm.gcm)
}

// sealerLines is how many cache lines of a Sealer each packet needs.
const sealerLines = int(unsafe.Offsetof(Sealer{}.rtcp)+63) / 64

// Fetch asks for the memory that RTP is going to need.
func (s *Sealer) Fetch() {
	if s != nil {
		prefetch.Lines(unsafe.Pointer(s), sealerLines)
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
	if c := &s.cm; c.tag != 0 {
		return c.mac.Append(c.encrypt(&s.gcm.gcm, dst, payload, ssrc, index), uint32(index>>16), c.tag), nil
	}
	return s.gcm.gcm.Seal(dst, s.gcm.nonce(ssrc, index), payload, dst), nil
}

// Later is RTP, but with AES-CM the packet's tag need not be there before the next Finish of tags. Until then nobody may send, change or copy it.
func (s *Sealer) Later(tags *Tags, dst []byte, hdrLen int, payload []byte, ssrc uint32, index uint64) ([]byte, error) {
	c := &s.cm
	if c.tag == 0 || cap(dst) < hdrLen+len(payload)+MaxOverhead {
		return s.RTP(dst, hdrLen, payload, ssrc, index)
	}
	dst = c.encrypt(&s.gcm.gcm, dst[:hdrLen], payload, ssrc, index)
	return tags.Add(&c.mac, dst, uint32(index>>16), c.tag), nil
}

// RTCP protects a compound packet into dst, which is grown when too small and must not overlap it.
func (s *Sealer) RTCP(dst, plain []byte) ([]byte, error) {
	if s.pion != nil {
		return s.pion.EncryptRTCP(dst, plain, nil)
	}
	return s.rtcp.seal(dst, plain)
}

// Opener opens what comes from one peer. Its errors are ErrMalformed, ErrReplay, ErrAuth and ErrTooMany.
type Opener struct {
	gcm  *aeadOpener
	pion *srtp.Context // of profiles without GCM
	hdr  rtp.Header
}

// NewOpener derives the session keys of a profile.
func NewOpener(profile srtp.ProtectionProfile, k Keys) (*Opener, error) {
	if isGCM(profile) {
		o, err := newAEADOpener(k)
		return &Opener{gcm: o}, err
	}
	ctx, err := srtp.CreateContext(k.Key, k.Salt, profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Opener{pion: ctx}, nil
}

// RTP opens a packet into dst (which may be the packet's own memory) and returns it.
func (o *Opener) RTP(dst, pkt []byte) ([]byte, error) {
	if o.gcm != nil {
		return o.gcm.openRTP(dst, pkt)
	}
	out, err := o.pion.DecryptRTP(dst, pkt, &o.hdr)
	return out, ours(err)
}

// RTCP opens a compound packet into dst.
func (o *Opener) RTCP(dst, pkt []byte) ([]byte, error) {
	if o.gcm != nil {
		return o.gcm.openRTCP(dst, pkt)
	}
	out, err := o.pion.DecryptRTCP(dst, pkt, nil)
	return out, ours(err)
}

// ours is the error that stands for one of pion's, which tells apart only what is not authentic.
func ours(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, srtp.ErrFailedToVerifyAuthTag):
		return ErrAuth
	}
	return ErrReplay
}

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
