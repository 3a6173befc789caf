package ext

import (
	"strings"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsReporting = "urn:xmpp:reporting:1"

	maxReportText = 2000 // bytes of what somebody writes into a report
	maxReportIDs  = 20   // messages that a report names
)

// Report is a complaint that came with a block (XEP-0377).
type Report struct {
	By, About stanza.JID
	Reason    string // urn:xmpp:reporting:spam, urn:xmpp:reporting:abuse or another
	Text      string
	IDs       []string // of messages, in the archive of By
}

// Reports gives the complaints that come with blocks to send, after the block is stored, on the goroutine of the stream that they came by.
func (b *Blocking) Reports(send func(Report)) {
	b.report = send
	b.srv.Hooks().Feature(xmpp.ToServer, nsReporting)
	b.srv.Hooks().Feature(xmpp.ToAccount, nsReporting)
}

// reports reads those of a block request. A report without a reason says nothing (§3).
func reports(by stanza.JID, items []*stanza.Element) (out []Report) {
	for _, it := range items {
		el := it.Child(nsReporting, "report")
		if el.Attr("reason") == "" {
			continue
		}
		about, err := stanza.ParseJID(it.Attr("jid"))
		if err != nil {
			continue // asked has refused the request
		}
		text := strings.TrimSpace(el.Child(nsReporting, "text").Text())
		r := Report{By: by, About: about, Reason: el.Attr("reason"), Text: strings.ToValidUTF8(text[:min(len(text), maxReportText)], "")}
		for _, id := range el.ChildrenNamed(nsSID, "stanza-id") {
			if len(r.IDs) < maxReportIDs {
				r.IDs = append(r.IDs, id.Attr("id"))
			}
		}
		out = append(out, r)
	}
	return out
}
