package rtc

import (
	"bytes"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// What every profile's sealer makes of packets is what a library makes of them back, round the end of the sequence numbers too.
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
		room := make([]byte, 1, 2000)
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
		}
	}
}
