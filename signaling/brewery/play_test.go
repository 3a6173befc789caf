package brewery

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"konzil/sfu"
	"konzil/signaling/bridge"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

// TestPlays: a focus asks the bridge on a real sfu, stanza by stanza. The plays say what jicofo says, and what nobody should.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		c := sfu.DefaultConfig()
		c.Listen, c.Shards = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 1
		engine, err := sfu.New(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		b := bridge.New(engine, bridge.Config{ServerID: "s1", WebSocketURL: "wss://meet.example/colibri-ws", RelayID: "us"}, slog.New(slog.DiscardHandler))
		w := &theatre{who: map[string]stanza.JID{}, got: make(chan *stanza.Stanza, 100), stats: Stats{Healthy: true}}
		w.m, err = New(b, Config{Account: Account{JID: "jvb@auth.meet.example", Room: room, Nick: "jvb1"}, Version: "1.0", Stats: func() Stats { return w.stats }}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		send := func(st *stanza.Stanza) { w.got <- st }
		w.m.out.Store(&send)
		t.Cleanup(func() { w.m.work.wait(); b.Close(); engine.Close() })
		return w
	})
}

// theatre gives a member what clients send, as the room passes it on.
type theatre struct {
	m     *Member
	who   map[string]stanza.JID
	got   chan *stanza.Stanza
	stats Stats
	rest  []*stanza.Stanza // for others than who asked last
}

func (w *theatre) Enter(name, jid string) (err error) {
	w.who[name], err = stanza.ParseJID(jid)
	return err
}

func (w *theatre) Send(name string, st *stanza.Stanza) error {
	to, err := w.m.room.WithResource("jvb1")
	if err != nil {
		return err
	}
	w.m.answer(st.WithFromTo(w.who[name], to), func(reply *stanza.Stanza) { w.got <- reply })
	return nil
}

func (w *theatre) Receive(name string) *stanza.Stanza {
	mine := func(st *stanza.Stanza) bool { return st.To == w.who[name] }
	if i := slices.IndexFunc(w.rest, mine); i >= 0 {
		st := w.rest[i]
		w.rest = slices.Delete(w.rest, i, i+1)
		return st
	}
	for late := time.After(patience); ; {
		select {
		case st := <-w.got:
			if mine(st) {
				return st
			}
			w.rest = append(w.rest, st)
		case <-late:
			return nil
		}
	}
}

func (w *theatre) Pending(name string) (out []*stanza.Stanza) {
	w.m.work.wait()
	for len(w.got) > 0 {
		w.rest = append(w.rest, <-w.got)
	}
	for _, st := range w.rest {
		if st.To == w.who[name] {
			out = append(out, st)
		}
	}
	w.rest = slices.DeleteFunc(w.rest, func(st *stanza.Stanza) bool { return st.To == w.who[name] })
	return out
}

// Command: "the bridge is sick", "the bridge shuts down", "MEETING loses RELAY".
func (w *theatre) Command(words []string) error {
	switch {
	case slices.Equal(words, []string{"the", "bridge", "is", "sick"}):
		w.stats.Healthy = false
	case slices.Equal(words, []string{"the", "bridge", "shuts", "down"}):
		w.stats.GracefulShutdown = true
	case len(words) == 3 && words[1] == "loses":
		w.m.RelayLost(words[0], words[2])
	default:
		return fmt.Errorf("unknown: %q", words)
	}
	return nil
}
