package translator

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/pion/ice/v4"

	"konzil/internal/await"
	"konzil/sfu/keying"
)

// keyedPort is a client's side of one component, after ICE and DTLS.
type keyedPort struct {
	t    *testing.T
	conn net.Conn
	keys *keying.Keys
	got  chan []byte
}

// handshake is DTLS over a component; both its keys and its failure are results.
func handshake(t *testing.T, c *Channel, id keying.Identity, conn net.Conn) (*keyedPort, error) {
	t.Helper()
	p := &keyedPort{t: t, conn: conn, got: make(chan []byte, 64)}
	pipe := keying.NewPipe(func(b []byte) { _, _ = conn.Write(b) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b := make([]byte, 2000)
			n, err := conn.Read(b)
			switch {
			case err != nil:
				return
			case classify(b[:n]) == dtlsMsg:
				pipe.Push(b[:n])
			default:
				p.got <- b[:n]
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); _ = pipe.Close(); <-done })
	var err error
	p.keys, err = keying.Handshake(context.Background(), pipe, keying.Config{Identity: id, Client: true,
		Fingerprints: []keying.Fingerprint{{Hash: "sha-256", Value: c.Fingerprint()}}, Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(func() { _ = p.keys.Conn.Close() })
	}
	return p, err
}

// secureEnd is a client with DTLS-SRTP on each of two components, as one that does not mux RTCP.
func secureEnd(t *testing.T, c *Channel) (ports [2]*keyedPort) {
	t.Helper()
	id, err := keying.NewIdentity()
	must(t, err)
	must(t, c.SetRemote(Remote{Fingerprints: []keying.Fingerprint{{Hash: "sha-256", Value: id.Fingerprint}}, Setup: "active"}))
	first := newAgent(t, c, 0, true)
	frag, pwd, err := first.GetLocalUserCredentials()
	must(t, err)
	second := newAgent(t, c, 1, true, ice.WithLocalCredentials(frag, pwd))
	for i, a := range []*agent{first, second} {
		ports[i], err = handshake(t, c, id, a.connected(t))
		must(t, err)
	}
	return ports
}

func (p *keyedPort) rtp(seq uint16, payload string) {
	p.t.Helper()
	h := binary.BigEndian.AppendUint16([]byte{0x80, 111}, seq)
	h = append(h, 0, 0, 0, 9, 0, 0, 0, 77)
	b, err := p.keys.Sealer.RTP(append(make([]byte, 0, 1500), h...), len(h), []byte(payload), 77, uint64(seq))
	must(p.t, err)
	_, err = p.conn.Write(b)
	must(p.t, err)
}

func (p *keyedPort) next() []byte {
	p.t.Helper()
	select {
	case b := <-p.got:
		return b
	case <-time.After(10 * time.Second):
		p.t.Fatal("nothing came")
		return nil
	}
}

func withIdentity(t *testing.T) func(*Config) {
	id, err := keying.NewIdentity()
	must(t, err)
	return func(c *Config) { c.Identity = id }
}

// TestTwoComponents: RTP and RTCP have a handshake each (RFC 5764 §4.1), and are sealed anew for each end; a repetition is nobody's.
func TestTwoComponents(t *testing.T) {
	w := newWorld(t, withIdentity(t))
	a, b := w.add(ChannelConfig{ID: "a", ICE: true}), w.add(ChannelConfig{ID: "b", ICE: true})
	pa, pb := secureEnd(t, a), secureEnd(t, b)
	await.True(t, "keys on all ports", func() bool { return w.s.Counters()["dtls_connected"] == 4 })
	for seq, words := range []string{"one", "two", "three"} {
		pa[0].rtp(uint16(seq), words)
		plain, err := pb[0].keys.Opener.RTP(nil, pb[0].next())
		if err != nil || string(plain[12:]) != words || plain[11] != 77 || plain[1] != 111 {
			t.Fatalf("%q instead of %q, %v", plain, words, err)
		}
	}
	pa[0].rtp(2, "three") // again: the replay window stops it
	w.drops("drop_srtp", 1)
	pa[0].conn.Write(rtpPacket(9, 40)) // in clear
	w.drops("drop_srtp", 2)
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 77}
	sealed, err := pb[1].keys.Sealer.RTCP(nil, report)
	must(t, err)
	_, err = pb[1].conn.Write(sealed)
	must(t, err)
	plain, err := pa[1].keys.Opener.RTCP(nil, pa[1].next())
	if err != nil || string(plain) != string(report) {
		t.Errorf("rtcp %x, %v", plain, err)
	}
	if got := a.Stats().Sources; len(got) != 1 || got[0] != 77 {
		t.Errorf("sources %v", got)
	}
}

// TestNotMixed: what was opened goes to nobody in clear, and what is end to end to nobody with DTLS: signalling is refused, packets are dropped.
func TestNotMixed(t *testing.T) {
	w := newWorld(t, withIdentity(t))
	keyed, plain, raw := w.add(ChannelConfig{ICE: true}), w.add(ChannelConfig{ICE: true}), w.add(ChannelConfig{})
	print := []keying.Fingerprint{{Hash: "sha-256", Value: "00"}}
	must(t, keyed.SetRemote(Remote{Ufrag: "u", Pwd: "p", Fingerprints: print, Setup: "active"}))
	if err := plain.SetRemote(Remote{Ufrag: "u", Pwd: "p"}); !errors.Is(err, ErrMixed) {
		t.Errorf("plain: %v", err)
	}
	if err := raw.SetRemote(Remote{Fingerprints: print}); !errors.Is(err, ErrRemote) {
		t.Errorf("raw: %v", err)
	}
	if err := keyed.SetRemote(Remote{Fingerprints: []keying.Fingerprint{{Hash: "sha-256", Value: "01"}}, Setup: "holdconn"}); !errors.Is(err, ErrRemote) {
		t.Errorf("setup: %v", err)
	}
	e := newEnd(t, loop)
	e.send(at(raw), rtpPacket(1, 40))
	w.drops("drop_mixed", 1)
	w.drops("drop_no_end", 1)
}

// TestWrongCertificate: who is not the one that was signalled gets no keys.
func TestWrongCertificate(t *testing.T) {
	w := newWorld(t, withIdentity(t))
	c := w.add(ChannelConfig{ICE: true})
	id, err := keying.NewIdentity()
	must(t, err)
	must(t, c.SetRemote(Remote{Fingerprints: []keying.Fingerprint{{Hash: "sha-256", Value: w.s.cfg.Identity.Fingerprint}}, Setup: "active"}))
	if _, err := handshake(t, c, id, newAgent(t, c, 0, true).connected(t)); err == nil {
		t.Error("the handshake was done")
	}
	w.drops("dtls_failed", 1)
}
