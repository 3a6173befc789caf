package ext

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

type noAccounts struct{ xmpp.Accounts }

func (noAccounts) Mechanisms() []string { return nil }

// TestDelegatedFeatures: what a component announces takes the place of what the server has of that namespace (XEP-0355 §7.2), in the capabilities too.
func TestDelegatedFeatures(t *testing.T) {
	const ns = "http://jabber.org/protocol/pubsub"
	cfg := xmpp.DefaultConfig()
	cfg.Domain = "example.org"
	srv, err := xmpp.New(cfg, noAccounts{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown(context.Background())
	d := AttachDisco(srv, DiscoOptions{Name: "Konzil"})
	srv.Hooks().Feature(xmpp.ToServer, ns, ns+"#auto-create", "urn:other")
	answer := map[string]*stanza.Element{ns: nil}
	d.Delegate(func(accounts bool) map[string]*stanza.Element { return answer })
	d.Seal()
	none := *d.ver.Load()
	_, features, _ := d.announced(xmpp.ToServer, d.identities)
	if slices.Contains(features, ns) || slices.Contains(features, ns+"#auto-create") || !slices.Contains(features, "urn:other") {
		t.Error(features)
	}
	answer[ns] = stanza.NewElement(nsDiscoInfo, "query").Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "pubsub", "type", "pep"),
		stanza.NewElement(nsDiscoInfo, "feature", "var", ns+"#publish"))
	d.Reseal()
	ids, features, _ := d.announced(xmpp.ToServer, d.identities)
	if !slices.Contains(features, ns+"#publish") || len(ids) != 2 || *d.ver.Load() == none {
		t.Error(ids, features)
	}
}
