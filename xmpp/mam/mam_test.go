package mam

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/archive"
	"konzil/internal/slots"
	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPlays performs the plays of testdata on a real server with a room service that knows nothing but its archive. The command "archive settles"
// returns when what was kept has gone on.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		quiet := slog.New(slog.DiscardHandler)
		db := storetest.OpenIn(t, t.TempDir())
		a, err := archive.Open(context.Background(), db, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(a.Close(context.Background()), db.Close()); err != nil {
				t.Error(err)
			}
		})
		var m *Service
		return play.NewLive(t, func(s *xmpp.Server) {
			m = Attach(s, a, SQLStore{db}, Options{
				Refused: func(_, peer stanza.JID) bool { return peer.Local() == "tybalt" },
				Contact: func(_, peer stanza.JID) bool { return peer.Local() == "juliet" },
				Rooms: func(owner stanza.JID) []Room {
					if owner.Local() != "romeo" {
						return nil
					}
					return []Room{{JID: stanza.MustJID("garden@rooms.example.org"), OccupantID: "r"}}
				},
				Displayed: func(stanza.JID) map[string]string {
					return map[string]string{"mercutio@example.org": archive.ID(math.MaxInt64).String()} // everything
				},
			}, quiet)
			rooms := m.Rooms()
			s.Mount("rooms.example.org", xmpp.HandlerFunc(func(st *stanza.Stanza) {
				switch {
				case st.Kind == stanza.IQ:
					s.Route(rooms.IQ(st.To, st, s.Route))
				case st.Type == "groupchat":
					if st.To.Local() == "garden" { // this one has occupant ids, by their first letter, and notes who wrote
						st = st.WithAdded(stanza.NewElement("urn:xmpp:occupant-id:0", "occupant-id", "id", st.From.Local()[:1])).WithAdded(stanza.NewElement(nsMUCUser, "x"))
					}
					err := rooms.Keep(st.To.Bare(), st.To, func(id string) *stanza.Stanza {
						return st.WithAdded(stanza.NewElement(nsSID, "stanza-id", "by", st.To.Bare().String(), "id", id)).WithFromTo(st.To, st.From)
					}, func(st *stanza.Stanza, err error) { s.Route(st) })
					if err != nil {
						t.Error(err)
					}
				case st.To.Resource() == "pair": // a private message for two sessions of one nick
					s.Route(st.WithFrom(st.To).ForAll([]stanza.JID{stanza.MustJID("juliet@example.org/balcony"), stanza.MustJID("juliet@example.org/garden")}))
				default: // a private message
					s.Route(st.WithFromTo(st.To, stanza.MustJID("romeo@example.org/orchard")))
				}
			}))
		}, func(words []string) error {
			if !slices.Equal(words, []string{"archive", "settles"}) {
				return fmt.Errorf("unknown command %q", words)
			}
			done := make(chan error)
			if _, err := a.AppendThen(func(archive.ID) []byte { return nil }, func(err error) { done <- err }, archive.Copy{Owner: "nobody"}); err != nil {
				return err
			}
			return <-done
		})
	})
}

// TestKeeping: it is known of which peers messages for rooms are on their way to the disk.
func TestKeeping(t *testing.T) {
	db := storetest.Open(t)
	a, err := archive.Open(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	m := &Service{archive: a}
	busy, free, wrote := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		wrote <- db.Write(context.Background(), func(*sql.Tx) error { close(busy); <-free; return nil })
	}()
	<-busy // the archive gets no further than here
	room, st := stanza.MustJID("cave@rooms.example.org"), stanza.NewMessage("groupchat", stanza.MustJID("romeo@example.org/orchard"), stanza.JID{})
	done := make(chan error, 2)
	for _, from := range []stanza.Origin{{Channel: 7, Number: 1}, {}} { // the second one came on no channel
		if err := m.Rooms().Keep(room, room, func(string) *stanza.Stanza { return st.WithOrigin(from) }, func(_ *stanza.Stanza, err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
	}
	if !m.Keeping(7) || m.Keeping(8) || m.Keeping(0) {
		t.Error("channel 7 alone waits for the disk")
	}
	close(free)
	if err := errors.Join(<-wrote, <-done, <-done); err != nil {
		t.Fatal(err)
	}
	if m.Keeping(7) {
		t.Error("all is on disk")
	}
}

// TestSearches: one search for words at a time of each, a few in all; other questions are not held up.
func TestSearches(t *testing.T) {
	m := &Service{searching: slots.New[stanza.JID](maxSearches, maxSearchesEach)}
	me := stanza.MustJID("romeo@example.org/orchard")
	ask := stanza.NewIQ("set", "1", me, stanza.JID{}, stanza.NewElement(nsMAM, "query").Add(stanza.NewElement(nsData, "x").Add(
		stanza.NewElement(nsData, "field", "var", fieldText).Add(stanza.TextElement(nsData, "value", "rose")))))
	m.searching.Take(me.Bare())
	if r := m.answer(me.Bare(), ask, nil); r.Type != "error" || r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "resource-constraint") == nil {
		t.Errorf("a second search: %s", r.AppendXML(nil, "", true))
	}
	if m.Counters()["searches_refused_total"] != 1 {
		t.Error(m.Counters())
	}
}

func TestKeepable(t *testing.T) {
	for xml, want := range map[string]bool{
		`<message><body>x</body></message>`:                                                                         true,
		`<message type='chat'><body>x</body></message>`:                                                             true,
		`<message type='headline'><body>x</body></message>`:                                                         false,
		`<message type='headline'><body>x</body><store xmlns='urn:xmpp:hints'/></message>`:                          true,
		`<message type='groupchat'><body>x</body><store xmlns='urn:xmpp:hints'/></message>`:                         false,
		`<message type='error'><body>x</body></message>`:                                                            false,
		`<message><active xmlns='http://jabber.org/protocol/chatstates'/></message>`:                                false,
		`<message><active xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/></message>`: true,
		`<message><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>`:                                       false,
		`<message><body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>`:                             false,
		`<message><received xmlns='urn:xmpp:receipts' id='1'/></message>`:                                           true,
		`<message><request xmlns='urn:xmpp:receipts'/></message>`:                                                   false,
		`<message><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>`:                                    true,
		`<message><propose xmlns='urn:xmpp:jingle-message:0' id='1'/></message>`:                                    true,
		`<message><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>`:                                    true,
		`<message><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>`:                               false,
		`<message><sent xmlns='urn:xmpp:carbons:2'/><body>x</body></message>`:                                       false,
		`<message><result xmlns='urn:xmpp:mam:2'/><body>x</body></message>`:                                         false,
		`<message><x xmlns='jabber:x:conference' jid='r@c'/></message>`:                                             true,
		`<presence/>`: false,
	} {
		st, err := stanza.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if keepable(st) != want {
			t.Error(xml, !want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add(`<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='with'><value>a@b</value></field><field var='start'><value>2026-01-01T00:00:00Z</value></field></x><set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set></query>`)
	f.Add(`<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><after>0123456789abc</after><index>-1</index></set><flip-page/></query>`)
	f.Fuzz(func(t *testing.T, s string) {
		el, err := stanza.ParseElement([]byte(s))
		if err != nil {
			return
		}
		r, bad := readQuery(stanza.MustJID("a@b"), el)
		if (r == nil) == (bad == nil) {
			t.Fatal(r, bad)
		}
		if r != nil && (r.Max < 0 || r.Max > maxPage || len(r.IDs) > maxIDs) {
			t.Fatal(r)
		}
		_, _ = readPrefs(el)
	})
}
