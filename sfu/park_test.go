package sfu

import (
	"testing"
	"time"

	"konzil/internal/await"
)

// parked says whether the DTLS of e is put away.
func (e *Endpoint) parkedNow() bool {
	e.t.dtls.mu.Lock()
	defer e.t.dtls.mu.Unlock()
	return e.t.dtls.parked != nil
}

// TestPark: a connection without SCTP is put away when the peer has proved its keys, what comes then (here attempts at SCTP) wakes it, it is
// put away again, media goes on all the time, and close_notify is still understood, and said.
func TestPark(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	s.park = 200 * time.Millisecond
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	plain := clientOptions{endpoint: func(cfg *EndpointConfig) { cfg.DataChannel = false }}
	a, b := newClient(t, c, "aaaa", plain), newClient(t, c, "bbbb", clientOptions{})
	a.join(b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	defer b.play(nil)()
	await.True(t, "it is parked", a.ep.parkedNow)
	if b.ep.parkedNow() {
		t.Error("one with SCTP is parked")
	}
	had := a.count(b.ssrc(0))
	await.True(t, "it is woken", func() bool { return s.Counters()["dtls_woken"] > 0 })
	await.True(t, "it is parked again", a.ep.parkedNow)
	await.True(t, "audio goes on", func() bool { return a.count(b.ssrc(0)) > had })
	must(t, a.pc.Close())
	ev.wait(t, "the end", func(v event) bool { return v.kind == "transport" && v.ep == "aaaa" && v.state == TransportClosed })
}

// TestParkGoodbye: an endpoint that ends while its DTLS is parked says close_notify.
func TestParkGoodbye(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	s.park = 50 * time.Millisecond
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{endpoint: func(cfg *EndpointConfig) { cfg.DataChannel = false }})
	b := newClient(t, c, "bbbb", clientOptions{})
	a.join(b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	defer b.play(nil)()
	await.True(t, "it is parked", a.ep.parkedNow)
	a.ep.Close()
	await.True(t, "the client's DTLS has ended", func() bool { return a.pc.SCTP().Transport().State().String() == "closed" })
}
