package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

// TestPlays: bridges in the brewery answer stanza by stanza, as JVB does, what our focus asks.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		w := &theatre{inbox: map[stanza.JID]chan *stanza.Stanza{}, who: map[string]stanza.JID{}, lost: make(chan string, 10), done: make(chan outcome, 1)}
		cfg := Config{Self: stanza.MustJID("bridges.meet.example/focus"), Room: stanza.MustJID(room), MaxPerBridge: 1, HealthInterval: time.Hour, AnswerTimeout: 5 * time.Second}
		var err error
		if w.p, err = New(cfg, w, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		w.p.AddListener(w)
		t.Cleanup(w.p.Close)
		return w
	})
}

// theatre is the focus that asks the pool, and the room that passes stanzas on.
type theatre struct {
	p     *Pool
	who   map[string]stanza.JID
	inbox map[stanza.JID]chan *stanza.Stanza
	lost  chan string
	done  chan outcome
	begun bool
}

type outcome struct {
	m   *colibri.ConferenceModified
	err error
}

const wait = 10 * time.Second

// Route implements xmpp.Router.
func (w *theatre) Route(st *stanza.Stanza) {
	if in := w.inbox[st.To]; in != nil {
		in <- st
	}
}

func (w *theatre) EndpointLost(_, endpoint string) { w.lost <- endpoint }

func (w *theatre) Enter(name, jid string) (err error) {
	if w.who[name], err = stanza.ParseJID(jid); err == nil {
		w.inbox[w.who[name]] = make(chan *stanza.Stanza, 100)
	}
	return err
}

func (w *theatre) Send(name string, st *stanza.Stanza) error {
	w.p.HandleStanza(st.WithFromTo(w.who[name], w.p.cfg.Self))
	return nil
}

func (w *theatre) Receive(name string) *stanza.Stanza {
	select {
	case st := <-w.inbox[w.who[name]]:
		return st
	case <-time.After(wait):
		return nil
	}
}

func (w *theatre) Pending(name string) (out []*stanza.Stanza) {
	for in := w.inbox[w.who[name]]; len(in) > 0; {
		out = append(out, <-in)
	}
	return out
}

// Command: "focus begins anew", "focus invites ID", "focus expires ID", then "done", "done with UFRAG" or "refused REASON"; "all are lost ID...".
func (w *theatre) Command(words []string) error {
	switch {
	case len(words) == 3 && words[0] == "focus" && words[1] == "invites":
		w.ask(colibri.Endpoint{ID: words[2], Create: true, Capabilities: []string{colibri.CapSourceNames},
			Media: []jingle.Description{{Media: jingle.Audio}}, Transport: &colibri.Transport{ICEControlling: true, SCTP: true}})
	case len(words) == 3 && words[0] == "focus" && words[1] == "expires":
		w.ask(colibri.Endpoint{ID: words[2], Expire: true})
	case len(words) == 3 && words[1] == "begins":
		w.begun = false
	case len(words) > 3 && words[2] == "lost":
		for range words[3:] { // in any order
			select {
			case id := <-w.lost:
				if !slices.Contains(words[3:], id) {
					return fmt.Errorf("lost %s", id)
				}
			case <-time.After(wait):
				return errors.New("nobody is lost")
			}
		}
	case words[0] == "done" || words[0] == "refused":
		return w.result(words)
	default:
		return fmt.Errorf("unknown: %q", words)
	}
	return nil
}

func (w *theatre) ask(e colibri.Endpoint) {
	m := &colibri.ConferenceModify{MeetingID: "m", Name: "standup@conference.meet.example", Create: !w.begun, Endpoints: []colibri.Endpoint{e}}
	w.begun = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		r, err := w.p.Modify(ctx, m)
		w.done <- outcome{r, err}
	}()
}

func (w *theatre) result(words []string) error {
	select {
	case o := <-w.done:
		switch {
		case words[0] == "refused":
			if want := strings.Join(words[1:], ""); o.err == nil || string(reason(o.err)) != want { // none: there is no bridge
				return fmt.Errorf("%v", o.err)
			}
		case o.err != nil:
			return o.err
		case len(words) == 3 && (len(o.m.Endpoints) != 1 || o.m.Endpoints[0].Transport == nil || o.m.Endpoints[0].Transport.Ufrag != words[2]):
			return fmt.Errorf("got %+v", o.m)
		}
		return nil
	case <-time.After(wait):
		return errors.New("the focus still waits")
	}
}
