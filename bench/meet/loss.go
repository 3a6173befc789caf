package meet

import (
	"math/rand/v2"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

// lossy drops packets between the PeerConnection's NACK machinery and its socket, retransmissions too, so that repair is exercised as by a
// lossy network.
type lossy struct {
	interceptor.NoOp
	up, down float64 // shares, 0..1
}

// NewInterceptor implements interceptor.Factory; a lossy has no state of its own.
func (l *lossy) NewInterceptor(string) (interceptor.Interceptor, error) { return l, nil }

// BindLocalStream loses outgoing packets.
func (l *lossy) BindLocalStream(_ *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	if l.up <= 0 {
		return w
	}
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if rand.Float64() < l.up {
			return h.MarshalSize() + len(payload), nil
		}
		return w.Write(h, payload, a)
	})
}

// BindRemoteStream loses incoming packets.
func (l *lossy) BindRemoteStream(_ *interceptor.StreamInfo, r interceptor.RTPReader) interceptor.RTPReader {
	if l.down <= 0 {
		return r
	}
	return interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		for {
			n, out, err := r.Read(b, a)
			if err != nil || rand.Float64() >= l.down {
				return n, out, err
			}
		}
	})
}
