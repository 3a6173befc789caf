package filesharing

import (
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		return stage.New(t, func(srv *xmpp.Server, rooms muc.Group) (stage.Part, error) {
			return New("part.example.org", srv, rooms, func(_, real stanza.JID) bool { return real.Local() != "eve" })
		})
	})
}

// FuzzFile: nothing that a client says breaks the parser, and nobody speaks for another author.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		`{"fileId":"1","fileName":"a.pdf","fileSize":12,"fileType":"pdf","timestamp":1700000000000}`, `{"fileId":"1","fileName":"a","fileSize":"12"}`,
		`{"fileId":"1","fileName":"a","authorParticipantId":"forged"}`, `{"fileId":"1","fileId":"2","fileName":""}`, `{}`, `[`, ``, strings.Repeat("{", 5000),
	} {
		f.Add(s)
	}
	author := jitsi.Person{Addr: stanza.MustJID("r@rooms.example.org/me"), Real: stanza.MustJID("me@example.org/1")}
	f.Fuzz(func(t *testing.T, s string) {
		id, b, err := parseFile(s, author, author.Addr.Bare())
		if err != nil {
			return
		}
		var got file
		if json.Unmarshal(b, &got) != nil || got.ID != id || id == "" || got.AuthorID != "me" || got.AuthorName != "anonymous" {
			t.Fatalf("%q became %s", s, b)
		}
	})
}
