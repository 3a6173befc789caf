package portable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"konzil/xmpp/stanza"
)

func read(t *testing.T, text string, files map[string]string) []*User {
	t.Helper()
	var out []*User
	err := Read(strings.NewReader(text), func(href string) (io.ReadCloser, error) {
		f, ok := files[href]
		if !ok {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(f)), nil
	}, func(u *User) error { out = append(out, u); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRead: what Debian's prosody-migrator 0.12 and ejabberdctl 23.01 have written of the same account.
func TestRead(t *testing.T) {
	for name, want := range map[string]struct {
		key  string
		data []string
	}{
		"prosody.xml":  {"SCRAM-SHA-1$10000:OGM5MzYzMTMtMTJkZS00Mzg1LWJlMTgtZjNkNGZhMTliMmEx$PO4YG+CgIp9p2h3WxP3wJo6sXKo=:iGDmvXYlmQc5CEV1QqFjOfYSiuo=", []string{"query query archive pubsub pubsub"}},
		"ejabberd.xml": {"SCRAM-SHA-1$4096:+5/rqR+NepAFVE8DkfRuGg==$AVP/EiN64uzJRj7ecpktbyZ5rHU=:Wr+cQmQloyhAAidxguRdwx5ascjI=", []string{"offline-messages vCard query query query"}},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		u := read(t, string(b), nil)[0]
		var data []string
		for _, e := range u.Data {
			data = append(data, e.Local)
		}
		if u.Host != "campus.example" || u.Name != "romeo" || len(u.Keys) == 0 || strings.Join(data, " ") != want.data[0] {
			t.Errorf("%s: %+v %v", name, u, data)
		}
		if name == "prosody.xml" && u.Keys[0] != want.key || !strings.HasPrefix(u.Keys[0], want.key[:30]) {
			t.Errorf("%s: key %s", name, u.Keys[0])
		}
	}
}

func TestIncludesAndOldForm(t *testing.T) {
	files := map[string]string{
		"capulet.com.xml":        "<host xmlns='http://www.xmpp.org/extensions/xep-0227.html#ns' xmlns:xi='http://www.w3.org/2001/XInclude' jid='capulet.com'><xi:include href='capulet.com/juliet.xml'/></host>",
		"capulet.com/juliet.xml": "<user xmlns='http://www.xmpp.org/extensions/xep-0227.html#ns' name='juliet' password='scram:c3RvcmVk,c2VydmVy,c2FsdA==,4096'><offline-messages><message xmlns='jabber:client'><body>&lt;x&gt;</body></message></offline-messages></user>",
	}
	users := read(t, "<?xml version='1.0'?><!-- made by hand --><server-data xmlns='http://www.xmpp.org/extensions/xep-0227.html#ns' xmlns:xi='http://www.w3.org/2001/XInclude'><other xmlns='x'><user name='no'/></other><xi:include href='capulet.com.xml'/></server-data>", files)
	if len(users) != 1 || users[0].Host != "capulet.com" || users[0].Keys[0] != "SCRAM-SHA-1$4096:c2FsdA==$c3RvcmVk:c2VydmVy" || users[0].Password != "" {
		t.Fatalf("%+v", users)
	}
	if m := users[0].Child(NS, "offline-messages").Child(stanza.NSClient, "message"); m.Child(stanza.NSClient, "body").Text() != "<x>" {
		t.Error("message")
	}
	for _, bad := range []string{"", "<user", "<server-data xmlns='urn:xmpp:pie:0'><host jid='a'><user/></host></server-data>",
		"<server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='/etc/passwd'/></server-data>",
		"<user xmlns='urn:xmpp:pie:0' name='a'>" + strings.Repeat("<a>", 200)} {
		if err := Read(strings.NewReader(bad), nil, func(*User) error { return nil }); err == nil {
			t.Errorf("%.60s accepted", bad)
		}
	}
	stop := errors.New("stop")
	if err := Read(strings.NewReader("<user xmlns='urn:xmpp:pie:0' name='a'/>"), nil, func(*User) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestWriteAndRead(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, "a&b.example")
	u := &User{Name: "o'brien", Keys: []string{"SCRAM-SHA-1$4096:c2FsdA==$c3RvcmVk:c2VydmVy"}, Data: []*stanza.Element{stanza.TextElement("vcard-temp", "vCard", "<&>")}}
	if err := w.User(u, func(add func(*stanza.Element)) error {
		add(stanza.NewElement("urn:xmpp:mam:2", "result", "id", "1"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := read(t, b.String(), nil)
	if len(got) != 1 || got[0].Host != "a&b.example" || got[0].Name != "o'brien" || got[0].Keys[0] != u.Keys[0] || got[0].Child("vcard-temp", "vCard").Text() != "<&>" {
		t.Errorf("%+v of\n%s", got, b.String())
	}
	if len(got[0].Child(NSMAM, "archive").ChildrenNamed("urn:xmpp:mam:2", "result")) != 1 {
		t.Error("archive")
	}
}

// FuzzRead: no file makes it panic, and what it gives can be written and read again.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"prosody.xml", "ejabberd.xml"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("<user xmlns='urn:xmpp:pie:0' name='a' password='scram:sha256,a,b,c,1'><a xml:lang='de' x:y='1' xmlns:x='z'/></user>")
	f.Fuzz(func(t *testing.T, text string) {
		_ = Read(strings.NewReader(text), nil, func(u *User) error {
			w := NewWriter(io.Discard, u.Host)
			_ = w.User(u, func(func(*stanza.Element)) error { return nil })
			return w.Close()
		})
	})
}
