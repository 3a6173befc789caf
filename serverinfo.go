package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"konzil/xmpp/pubsub"
	"konzil/xmpp/stanza"
)

const (
	nsServerInfo = "urn:xmpp:serverinfo:0"
	infoNode     = "serverinfo"

	firstInfo   = 30 * time.Second // after the start: the links of before are there again
	infoEvery   = 10 * time.Minute
	askAgain    = 24 * time.Hour   // whether another server wants to be named
	askPeerTime = 20 * time.Second // for its answer
	maxAsked    = 50               // servers that are asked in one go; the others in the next
)

// openness is whether another server tells of itself, and so may be named.
type openness struct {
	named bool
	until time.Time
}

// publishInfo tells of the server in a node (XEP-0485), until the server stops.
func (s *server) publishInfo(context.Context) error {
	if !s.cfg.About.Info {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		known := map[string]openness{}
		for wait := firstInfo; ; wait = infoEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := s.publishInfoNow(ctx, known); err != nil {
				s.log.Error("server information not published", "err", err)
			}
		}
	})
	s.onStop(func(context.Context) { cancel(); wg.Wait() })
	return nil
}

func (s *server) publishInfoNow(ctx context.Context, known map[string]openness) error {
	connections := s.federation.Connections()
	s.askPeers(ctx, connections, known)
	info := serverInfo(s.cfg.Domain, connections, func(domain string) bool { return known[domain].named })
	cfg := pubsub.Config{Title: "About this server", Type: nsServerInfo, Access: "open", PublishModel: "publishers", MaxItems: 1, Persist: true, Payloads: true,
		SendLast: "never", Kind: "headline"}
	return s.pubsub.Publish(stanza.MustJID("pubsub."+s.cfg.Domain), infoNode, "current", info, cfg)
}

// askPeers asks those of whom it is not known, or no longer, whether they may be named: they announce the feature.
func (s *server) askPeers(ctx context.Context, connections map[string][]string, known map[string]openness) {
	now := time.Now()
	maps.DeleteFunc(known, func(_ string, o openness) bool { return now.After(o.until) })
	asked := 0
	for domain := range connections {
		peer, err := stanza.ParseJID(domain)
		if _, ok := known[domain]; ok || err != nil || asked == maxAsked || ctx.Err() != nil {
			continue
		}
		asked++
		one, cancel := context.WithTimeout(ctx, askPeerTime)
		iq, err := s.pings.ask(one, peer, stanza.NewElement("http://jabber.org/protocol/disco#info", "query"))
		cancel()
		o := openness{until: now.Add(askAgain)}
		if err == nil {
			for _, f := range iq.Child("http://jabber.org/protocol/disco#info", "query").Children() {
				o.named = o.named || f.Local == "feature" && f.Attr("var") == nsServerInfo
			}
		}
		known[domain] = o
	}
}

// serverInfo is what is published; others are named only if they want it (§8).
func serverInfo(domain string, connections map[string][]string, named func(string) bool) *stanza.Element {
	federation := stanza.NewElement(nsServerInfo, "federation")
	for _, remote := range slices.Sorted(maps.Keys(connections)) {
		el := stanza.NewElement(nsServerInfo, "remote-domain")
		if named(remote) {
			el.SetAttr("name", remote)
		}
		for _, direction := range connections[remote] {
			el.Add(stanza.NewElement(nsServerInfo, "connection", "type", direction))
		}
		federation.Add(el)
	}
	const nsVersion = "jabber:iq:version"
	return stanza.NewElement(nsServerInfo, "serverinfo").Add(
		stanza.NewElement(nsServerInfo, "domain", "name", domain).Add(federation),
		stanza.NewElement(nsVersion, "query").Add(stanza.TextElement(nsVersion, "name", "Konzil"), stanza.TextElement(nsVersion, "version", version())))
}
