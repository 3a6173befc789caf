package seal

import (
	"fmt"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// benchProfiles are what browsers negotiate with us, and what older clients do.
var benchProfiles = []srtp.ProtectionProfile{srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAes128CmHmacSha1_80}

// BenchmarkSeal protects packets as a forwarder does: header in place, payload from elsewhere.
func BenchmarkSeal(b *testing.B) {
	for _, profile := range benchProfiles {
		for _, size := range []int{120, 1200} {
			b.Run(fmt.Sprintf("%v/%d", profile, size), func(b *testing.B) {
				s, err := NewSealer(profile, keys(b, profile))
				if err != nil {
					b.Fatal(err)
				}
				h := rtp.Header{Version: 2, PayloadType: 96, SSRC: 1}
				payload, dst := make([]byte, size-12), make([]byte, size+MaxOverhead)
				var n uint64
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					n++
					h.SequenceNumber = uint16(n)
					if _, err := h.MarshalTo(dst); err != nil {
						b.Fatal(err)
					}
					if _, err := s.RTP(dst, 12, payload, h.SSRC, n); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen opens packets that were not seen before: the replay check refuses the others.
func BenchmarkOpen(b *testing.B) {
	for _, profile := range benchProfiles {
		for _, size := range []int{120, 1200} {
			b.Run(fmt.Sprintf("%v/%d", profile, size), func(b *testing.B) {
				k := keys(b, profile)
				s, err := NewSealer(profile, k)
				if err != nil {
					b.Fatal(err)
				}
				o, err := NewOpener(profile, k)
				if err != nil {
					b.Fatal(err)
				}
				const chunk = 512
				var n uint64
				var pkts [][]byte
				payload, to := make([]byte, size-12), make([]byte, size+MaxOverhead)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if len(pkts) == 0 {
						b.StopTimer()
						for range chunk {
							n++
							h := rtp.Header{Version: 2, PayloadType: 96, SSRC: 1, SequenceNumber: uint16(n)}
							dst := make([]byte, size+MaxOverhead)
							if _, err := h.MarshalTo(dst); err != nil {
								b.Fatal(err)
							}
							p, err := s.RTP(dst, 12, payload, h.SSRC, n)
							if err != nil {
								b.Fatal(err)
							}
							pkts = append(pkts, p)
						}
						b.StartTimer()
					}
					if _, err := o.RTP(to[:0], pkts[0]); err != nil {
						b.Fatal(err)
					}
					pkts = pkts[1:]
				}
			})
		}
	}
}
