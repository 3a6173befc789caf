package mam

import (
	"context"
	"time"

	"konzil/internal/archive"
	"konzil/xmpp/stanza"
)

// Import takes results of another server's archive, as XEP-0227 §4.10 has them, into the archive of an account. It gives their number.
func (m *Service) Import(ctx context.Context, owner stanza.JID, results []*stanza.Element) (int, error) {
	var past []archive.Past
	for _, r := range results {
		forwarded := r.Child(nsForward, "forwarded")
		at, err := time.Parse(time.RFC3339, forwarded.Child(nsDelay, "delay").Attr("stamp"))
		el := forwarded.Child(stanza.NSClient, "message")
		if err != nil || el == nil {
			continue // nothing that could be found again
		}
		from, ferr := stanza.ParseJID(el.Attr("from"))
		to, terr := stanza.ParseJID(el.Attr("to"))
		if ferr != nil || terr != nil {
			continue
		}
		peer := from
		if from.Bare() == owner {
			peer = to
		}
		past = append(past, archive.Past{At: at, Peer: peer.String(), XML: el.AppendXML(nil, "")})
	}
	return m.archive.Import(ctx, owner.String(), past)
}

// exportPage is how many messages are in memory at a time.
const exportPage = 500

// Export gives the archive of an account to add, one result after the other, oldest first.
func (m *Service) Export(ctx context.Context, owner stanza.JID, add func(*stanza.Element)) error {
	if err := m.archive.Barrier(ctx); err != nil {
		return err
	}
	var after archive.ID
	for {
		page, err := m.archive.Find(ctx, archive.Query{Owner: owner.String(), After: after, Max: exportPage})
		if err != nil {
			return err
		}
		for _, msg := range page.Messages {
			after = msg.ID
			if el, err := stanza.ParseElement(msg.XML); err == nil { // else nobody could read it
				add(stanza.NewElement(nsMAM, "result", "id", msg.ID.String()).Add(stanza.NewElement(nsForward, "forwarded").Add(
					stanza.NewElement(nsDelay, "delay", "stamp", msg.ID.Time().UTC().Format(stampFormat)), el)))
			}
		}
		if page.Complete || len(page.Messages) == 0 {
			return nil
		}
	}
}
