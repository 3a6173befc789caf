package rtc

import (
	"bytes"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// What every profile's sealer makes of packets is what a library and the opener make of them back, round the end of the sequence numbers too. Openers refuse what
// was changed.
func TestSealers(t *testing.T) {
	for name, p := range Profiles {
		profile := srtp.ProtectionProfile(p)
		keyLen, err := profile.KeyLen()
		if err != nil {
			t.Fatal(err)
		}
		saltLen, err := profile.SaltLen()
		if err != nil {
			t.Fatal(err)
		}
		c := &srtp.Config{Profile: profile, Keys: srtp.SessionKeys{LocalMasterKey: filler[:keyLen], LocalMasterSalt: filler[keyLen : keyLen+saltLen]}}
		s, err := newSealer(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := srtp.CreateContext(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt, profile)
		if err != nil {
			t.Fatal(err)
		}
		o, err := newOpener(&srtp.Config{Profile: profile, Keys: srtp.SessionKeys{RemoteMasterKey: c.Keys.LocalMasterKey, RemoteMasterSalt: c.Keys.LocalMasterSalt}})
		if err != nil {
			t.Fatal(err)
		}
		room, other := make([]byte, 1, 2000), make([]byte, 0, 2000)
		for i := range 4 {
			seq := uint16(0xfffe + i)
			h := rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, Timestamp: 7, SSRC: 0x01020304, Extension: true, ExtensionProfile: 0xbede}
			if err := h.SetExtension(3, []byte{1, 2}); err != nil {
				t.Fatal(err)
			}
			plain, err := (&rtp.Packet{Header: h, Payload: filler[:900+i]}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.rtp(room[:1], plain, h.MarshalSize(), uint32((0xfffe+i)>>16))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := back.DecryptRTP(nil, out[1:], nil); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: RTP %d: %v", name, i, err)
			}
			head, roc := headLen(out[1:]), uint32((0xfffe+i)>>16)
			if head != h.MarshalSize() {
				t.Errorf("header of %d bytes", head)
			}
			if got, err := o.rtp(other, out[1:], head, roc); err != nil || !bytes.Equal(got, plain[head:]) {
				t.Errorf("%s: RTP %d opened: %v", name, i, err)
			}
			out[len(out)/2] ^= 1
			if _, err := o.rtp(other, out[1:], head, roc); err == nil {
				t.Errorf("%s: RTP %d was changed", name, i)
			}
			report, err := (&rtcp.PictureLossIndication{SenderSSRC: 5, MediaSSRC: uint32(i)}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if out, err = s.rtcp(room[:1], report); err != nil {
				t.Fatal(err)
			}
			if got, err := back.DecryptRTCP(nil, out[1:], nil); err != nil || !bytes.Equal(got, report) {
				t.Errorf("%s: RTCP %d: %v", name, i, err)
			}
			if got, err := o.rtcp(other, out[1:]); err != nil || !bytes.Equal(got, report) {
				t.Errorf("%s: RTCP %d opened: %v", name, i, err)
			}
			out[9] ^= 1
			if _, err := o.rtcp(other, out[1:]); err == nil {
				t.Errorf("%s: RTCP %d was changed", name, i)
			}
		}
	}
}

// An RTCP packet that is not encrypted has its tag behind all of it (RFC 7714 §9.3); what is cut short has none.
func TestOpenPlainRTCP(t *testing.T) {
	g, err := newGCM(filler[:16], filler[16:16+gcmSalt])
	if err != nil {
		t.Fatal(err)
	}
	report, err := (&rtcp.PictureLossIndication{SenderSSRC: 5, MediaSSRC: 6}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	word := []byte{0, 0, 0, 9}
	out := g.control.Seal(append([]byte(nil), report...), g.controlNonce(report, 9), nil, append(append([]byte(nil), report...), word...))
	out = append(out, word...)
	o := gcmOpener{g}
	if got, err := o.rtcp(nil, out); err != nil || !bytes.Equal(got, report) {
		t.Errorf("%x: %v", got, err)
	}
	out[9] ^= 1
	if _, err := o.rtcp(nil, out); err == nil {
		t.Error("it was changed")
	}
	if _, err := o.rtcp(nil, out[:20]); err == nil {
		t.Error("it was cut")
	}
}
