package seal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/srtp/v3"

	"konzil/sfu/seal/aesgcm"
)

// Sizes of SRTP and SRTCP with AES-GCM (RFC 7714 §8, §9).
const (
	aeadTag   = aesgcm.TagSize
	aeadSalt  = 12
	rtpFixed  = 12      // of an RTP header (RFC 3550 §5.1)
	rtcpFixed = 8       // of an RTCP packet, which stays in the clear
	esrtcp    = 4       // the word of E flag and SRTCP index behind the tag
	encrypted = 1 << 31 // the E flag
)

// Labels of the key derivation (RFC 3711 §4.3.2).
const (
	labelRTPKey   = 0
	labelRTPAuth  = 1
	labelRTPSalt  = 2
	labelRTCPKey  = 3
	labelRTCPSalt = 5
)

// isGCM says whether a profile is one of RFC 7714.
func isGCM(p srtp.ProtectionProfile) bool {
	return p == srtp.ProtectionProfileAeadAes128Gcm || p == srtp.ProtectionProfileAeadAes256Gcm
}

// aead is AES-GCM for SRTP or SRTCP in one direction.
type aead struct {
	salt   uint64 // its first eight bytes, and
	salt4  uint32 // its last four
	nonces [aesgcm.NonceSize]byte
	gcm    aesgcm.GCM
}

// init derives the keys by their labels.
func (a *aead) init(k Keys, keyLabel, saltLabel byte) error {
	key, err := derive(keyLabel, k, len(k.Key))
	if err != nil {
		return err
	}
	salt, err := derive(saltLabel, k, aeadSalt)
	if err != nil {
		return err
	}
	return a.set(key, salt)
}

// set takes the session's key and salt.
func (a *aead) set(key, salt []byte) (err error) {
	a.salt, a.salt4 = binary.BigEndian.Uint64(salt), binary.BigEndian.Uint32(salt[8:])
	if err = a.gcm.Init(key); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// nonce is valid until the next one (RFC 7714 §8.1, §9.1): two bytes of zero, SSRC, and the index in six bytes, added to the salt.
func (a *aead) nonce(ssrc uint32, index uint64) []byte {
	binary.BigEndian.PutUint64(a.nonces[:], a.salt^(uint64(ssrc)<<16|index>>32))
	binary.BigEndian.PutUint32(a.nonces[8:], a.salt4^uint32(index))
	return a.nonces[:]
}

// rtcpSealer is SRTCP with AES-GCM for one peer.
type rtcpSealer struct {
	aead
	index map[uint32]uint32 // by SSRC: the last one used
}

var errExhausted = errors.New("seal: all SRTCP indexes of the key are used")

// seal protects a compound packet into dst, which is grown when too small. It must not overlap plain.
func (s *rtcpSealer) seal(dst, plain []byte) ([]byte, error) {
	if len(plain) < rtcpFixed {
		return nil, ErrMalformed
	}
	ssrc := binary.BigEndian.Uint32(plain[4:])
	index := s.index[ssrc] + 1
	if index >= encrypted {
		return nil, errExhausted
	}
	s.index[ssrc] = index
	var data [rtcpFixed + esrtcp]byte
	copy(data[:], plain[:rtcpFixed])
	binary.BigEndian.PutUint32(data[rtcpFixed:], index|encrypted)
	dst = append(dst[:0], plain[:rtcpFixed]...)
	dst = s.gcm.Seal(dst, s.nonce(ssrc, uint64(index)), plain[rtcpFixed:], data[:])
	return append(dst, data[rtcpFixed:]...), nil
}

// aeadOpener is SRTP and SRTCP with AES-GCM of one peer.
type aeadOpener struct {
	rtp, rtcp   aead
	heard, told indexes // of RTP and RTCP
}

// indexes are those of packets that were opened, by SSRC. A packet mostly has that of the one before.
type indexes struct {
	by   map[uint32]*Index
	ssrc uint32
	last *Index // by[ssrc]
}

// of is nil when nothing of the SSRC was opened yet.
func (x *indexes) of(ssrc uint32) *Index {
	if x.last == nil || x.ssrc != ssrc {
		x.ssrc, x.last = ssrc, x.by[ssrc]
	}
	return x.last
}

// maxHeard bounds the SSRCs of one peer, for which there is state as soon as a packet of theirs was authentic. A client has a few.
const maxHeard = 4096

func newAEADOpener(k Keys) (*aeadOpener, error) {
	o := &aeadOpener{heard: indexes{by: map[uint32]*Index{}}, told: indexes{by: map[uint32]*Index{}}}
	if err := o.rtp.init(k, labelRTPKey, labelRTPSalt); err != nil {
		return nil, err
	}
	return o, o.rtcp.init(k, labelRTCPKey, labelRTCPSalt)
}

// openRTP opens a packet into dst, which is grown when too small and may be the packet's own memory.
func (o *aeadOpener) openRTP(dst, pkt []byte) ([]byte, error) {
	n := headerLen(pkt)
	if n == 0 || len(pkt) < n+aeadTag {
		return nil, ErrMalformed
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	x := o.heard.of(ssrc)
	i, ok := x.guess(binary.BigEndian.Uint16(pkt[2:]))
	if !ok {
		return nil, ErrReplay
	}
	out, err := o.rtp.gcm.Open(behind(dst, pkt, n), o.rtp.nonce(ssrc, i), pkt[n:], pkt[:n])
	if err != nil {
		return nil, ErrAuth
	}
	return out, o.heard.accept(x, ssrc, i)
}

// openRTCP opens a compound packet into dst, as openRTP does. One that is authentic but was not encrypted (RFC 7714 §9.3) is taken too.
func (o *aeadOpener) openRTCP(dst, pkt []byte) ([]byte, error) {
	body := len(pkt) - esrtcp
	if body < rtcpFixed+aeadTag {
		return nil, ErrMalformed
	}
	ssrc, word := binary.BigEndian.Uint32(pkt[4:]), binary.BigEndian.Uint32(pkt[body:])
	i := uint64(word &^ encrypted)
	x := o.told.of(ssrc)
	if !x.fresh(i) {
		return nil, ErrReplay
	}
	var out []byte
	var err error
	if word&encrypted != 0 {
		var data [rtcpFixed + esrtcp]byte
		copy(data[:], pkt[:rtcpFixed])
		copy(data[rtcpFixed:], pkt[body:])
		out, err = o.rtcp.gcm.Open(behind(dst, pkt, rtcpFixed), o.rtcp.nonce(ssrc, i), pkt[rtcpFixed:body], data[:])
	} else {
		text := body - aeadTag
		data := append(append(make([]byte, 0, text+esrtcp), pkt[:text]...), pkt[body:]...)
		if _, err = o.rtcp.gcm.Open(nil, o.rtcp.nonce(ssrc, i), pkt[text:body], data); err == nil {
			out = append(dst[:0], pkt[:text]...)
		}
	}
	if err != nil {
		return nil, ErrAuth
	}
	return out, o.told.accept(x, ssrc, i)
}

// behind is dst with the first n bytes of pkt in it, which stay in the clear.
func behind(dst, pkt []byte, n int) []byte {
	if cap(dst) < len(pkt) {
		dst = make([]byte, 0, len(pkt))
	}
	return append(dst[:0], pkt[:n]...)
}

// accept notes that the packet with index i was authentic.
func (x *indexes) accept(of *Index, ssrc uint32, i uint64) error {
	if of == nil {
		if len(x.by) == maxHeard {
			return ErrTooMany
		}
		of = &Index{}
		x.by[ssrc] = of
	}
	of.note(i)
	return nil
}

// headerLen is the length of an RTP header with CSRCs and extensions (RFC 3550 §5.1, §5.3.1), 0 when there is none.
func headerLen(pkt []byte) int {
	if len(pkt) < rtpFixed || pkt[0]>>6 != 2 {
		return 0
	}
	n := rtpFixed + 4*int(pkt[0]&0x0f)
	if pkt[0]&0x10 != 0 {
		if len(pkt) < n+4 {
			return 0
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(pkt[n+2:]))
	}
	if len(pkt) < n {
		return 0
	}
	return n
}
