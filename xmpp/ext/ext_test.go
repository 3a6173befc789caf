package ext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// friends are the accounts that see each other.
func friends(owner, contact stanza.JID) bool {
	who := []string{"romeo", "juliet"}
	return slices.Contains(who, owner.Local()) && slices.Contains(who, contact.Local())
}

// tokens are those of romeo.
type tokens struct {
	mu   sync.Mutex // guards list
	list []AccessClient
}

func (k *tokens) AccessClients(_ context.Context, who string) ([]AccessClient, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if who != "romeo" {
		return nil, nil
	}
	return slices.Clone(k.list), nil
}

func (k *tokens) RevokeAccess(_ context.Context, who, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = slices.DeleteFunc(k.list, func(c AccessClient) bool { return c.ID == id })
	return nil
}

// TestPlays performs the plays of testdata on a real server with everything attached.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		db := storetest.Open(t)
		sql, log := SQLStore{DB: db}, slog.New(slog.DiscardHandler)
		return play.NewLive(t, func(s *xmpp.Server) {
			AttachBlocking(s, sql, friends, log).Reports(func(r Report) {
				text := r.By.String() + " " + r.About.String() + " " + r.Reason + " " + r.Text + " " + strings.Join(r.IDs, ",")
				s.Route(stanza.NewMessage("headline", stanza.MustJID("example.org"), stanza.MustJID("watch@example.org/desk"), stanza.TextElement(stanza.NSClient, "body", text)))
			})
			AttachAccess(s, &tokens{list: []AccessClient{{ID: "lost-phone", Issued: time.Unix(1_800_000_000, 0)}}}, log)
			AttachMeetings(s, func(name string) string { return "https://meet.example/" + name })
			d := AttachDisco(s, DiscoOptions{Name: "Konzil", Node: "https://konzil.example", Visible: friends, About: About{
				Contacts: map[string][]string{"abuse": {"mailto:abuse@example.org"}, "support": {"xmpp:help@example.org", "https://example.org/help"}},
				Outage:   []string{"https://elsewhere.example/status.json"},
				Policy:   []PolicyField{{"data_retention", "text-single", []string{"720"}}},
				InfoNode: "xmpp:pubsub.example.org?;node=serverinfo",
			}})
			d.Identity("component", "room_metadata", "metadata.example.org")
			d.Item("rooms.example.org", "Chat rooms")
			d.PushTo(func(x *xmpp.Session) bool { return strings.HasPrefix(x.JID().Resource(), "pushed") })
			AttachPing(s)
			AttachVersion(s, "Konzil", "1.2.3")
			AttachTime(s)
			AttachLast(s, friends)
			AttachVCard(s, sql, log)
			AttachPrivate(s, sql, log)
			AttachServices(s, func(x *xmpp.Session) []Service {
				return []Service{
					{Type: "stun", Host: "turn.example.org", Port: 3478, Transport: "udp"},
					{Type: "turn", Host: "turn.example.org", Port: 3478, Transport: "udp", Username: x.JID().Local(), Password: "pw", Expires: time.Unix(1_800_000_000, 0)},
				}
			}, func(_ *xmpp.Session, typ, host string) (string, bool) {
				return "jwt", typ == "short-lived-token" && host == "file-sharing"
			})
			AttachCarbons(s)
			AttachOffline(s, sql, log)
			d.Seal()
		}, nil)
	})
}

// TestCapsHash: the examples of XEP-0115 §5.2 and §5.3.
func TestCapsHash(t *testing.T) {
	base := []string{nsCaps, nsDiscoInfo, nsDiscoItem, "http://jabber.org/protocol/muc"}
	if got := capsHash([]Identity{{"client", "pc", "Exodus 0.9.1", ""}}, base, nil); got != "QgayPKawpkPSDYmwT/WM94uAlu0=" {
		t.Errorf("simple example: %s", got)
	}
	x, err := stanza.ParseElement([]byte(`<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
		<field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field><field var='os'><value>Mac</value></field>
		<field var='os_version'><value>10.5.1</value></field><field var='software'><value>Psi</value></field><field var='software_version'><value>0.11</value></field></x>`))
	if err != nil {
		t.Fatal(err)
	}
	psi := []Identity{{"client", "pc", "\u03a8 0.11", "el"}, {"client", "pc", "Psi 0.11", "en"}}
	if got := capsHash(psi, append(slices.Clone(base), base[0]), []*stanza.Element{x}); got != "q07IKJEyjvHSyhy//CH0CxmKi8w=" {
		t.Errorf("complex example, with a feature named twice: %s", got)
	}
	if got, want := formText(x), "urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<os_version<10.5.1<software<Psi<software_version<0.11<"; got != want {
		t.Errorf("form: got %s, want %s", got, want)
	}
}

// TestStores: what was stored is there after the database was opened again, and bounds hold.
func TestStores(t *testing.T) {
	ctx, dir, owner := context.Background(), t.TempDir(), stanza.MustJID("romeo@example.org")
	db := storetest.OpenIn(t, dir)
	s := SQLStore{DB: db}
	name := stanza.Name{Space: "storage:bookmarks", Local: "storage"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetVCard(ctx, owner, []byte("<vCard/>")))
	must(s.SetPrivate(ctx, owner, name, []byte("<a/>"), 1))
	if err := s.SetPrivate(ctx, owner, stanza.Name{Space: "x", Local: "y"}, []byte("<b/>"), 1); !errors.Is(err, ErrFull) {
		t.Errorf("a second entry where one is allowed: %v", err)
	}
	must(s.SetBlocked(ctx, owner, []stanza.JID{stanza.MustJID("a@b"), stanza.MustJID("c@d")}))
	must(s.SetBlocked(ctx, owner, []stanza.JID{stanza.MustJID("c@d")}))
	for i := range 3 {
		must(s.AddOffline(ctx, owner, time.UnixMilli(int64(i)), "", []byte(fmt.Sprint(i)), 3, 100))
	}
	if err := s.AddOffline(ctx, owner, time.Now(), "", nil, 3, 100); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth message where three are allowed: %v", err)
	}
	if err := s.AddOffline(ctx, stanza.MustJID("x@y"), time.Now(), "", make([]byte, 101), 3, 100); !errors.Is(err, ErrFull) {
		t.Errorf("a message that is too big: %v", err)
	}
	must(db.Close())

	db = storetest.OpenIn(t, dir)
	defer func() { _ = db.Close() }()
	s = SQLStore{DB: db}
	card, err := s.VCard(ctx, owner)
	must(err)
	entry, err := s.Private(ctx, owner, name)
	must(err)
	blocked, err := s.Blocked(ctx, owner)
	must(err)
	waiting, err := s.Offline(ctx, owner)
	must(err)
	if string(card) != "<vCard/>" || string(entry) != "<a/>" || fmt.Sprint(blocked) != fmt.Sprint([]stanza.JID{stanza.MustJID("c@d")}) ||
		len(waiting) != 3 || string(waiting[0].XML) != "0" || waiting[2].Stamp.UnixMilli() != 2 {
		t.Errorf("read %s, %s, %v, %v", card, entry, blocked, waiting)
	}
	must(s.DeleteOffline(ctx, owner, waiting[1].ID))
	if waiting, _ = s.Offline(ctx, owner); len(waiting) != 1 || string(waiting[0].XML) != "2" {
		t.Errorf("left %v", waiting)
	}
}

// TestBlockForms: an entry covers itself, its account or its domain.
func TestBlockForms(t *testing.T) {
	for _, c := range []struct {
		entry, jid string
		want       bool
	}{
		{"a@b", "a@b", true}, {"a@b", "a@b/c", true}, {"a@b/c", "a@b/c", true}, {"a@b/c", "a@b/d", false}, {"a@b/c", "a@b", false},
		{"b", "a@b/c", true}, {"b", "b", true}, {"b/c", "a@b/c", true}, {"b/c", "a@b/d", false}, {"c", "a@b/c", false}, {"b", "a@x.b", false},
	} {
		if got := (blockSet{stanza.MustJID(c.entry): true}).has(stanza.MustJID(c.jid)); got != c.want {
			t.Errorf("%s covers %s: %v", c.entry, c.jid, got)
		}
	}
}

// TestCarbonRemembers: a copy remembers of which message it is, so that it is not queued twice when that is sent again after a kill; and it handles nothing.
func TestCarbonRemembers(t *testing.T) {
	st := stanza.NewMessage("chat", stanza.MustJID("romeo@example.org/orchard"), stanza.MustJID("juliet@example.org")).WithOrigin(stanza.Origin{Channel: 3, Number: 4}).WithArchive("0000000000007", stanza.MustJID("juliet@example.org"))
	for _, kind := range []string{"sent", "received"} {
		c := wrap(kind, st, stanza.MustJID("romeo@example.org"))
		if c.Archive() != st.Archive() || c.ArchivedFor(stanza.MustJID("juliet@example.org")) || c.Origin() != (stanza.Origin{Channel: 3, Number: 4, Part: true}) {
			t.Errorf("%s: %q %+v", kind, c.Archive(), c.Origin())
		}
	}
}
