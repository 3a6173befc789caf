// Package ext holds the small extensions, one file for each; a function Attach... adds it to a server before it serves.
//
//	about.go     XEP-0128, XEP-0157, XEP-0455, XEP-0504: what the operator tells of the service
//	disco.go     XEP-0030, XEP-0115: what server and accounts can do, and the server's caps in the stream features
//	ping.go      XEP-0199 ping, XEP-0092 version, XEP-0202 time, XEP-0012 last activity
//	vcard.go     XEP-0054 vcard-temp
//	private.go   XEP-0049 private XML
//	services.go  XEP-0215 STUN and TURN servers with credentials
//	offline.go   XEP-0160 messages for who is not there
//	blocking.go  XEP-0191 block lists
//	access.go    XEP-0494 which clients have access to an account
//	report.go    XEP-0377 complaints that come with a block
//	meetings.go  XEP-0483 URLs of video meetings
//	carbons.go   XEP-0280 copies for one's other clients
//	search.go    XEP-0055 search for people
//	sqlstore.go  what the others store, in the database
//
// The path of a request: an iq for the server or for one's own account comes by an IQ hook, on the goroutine of the stream that sent it,
// and what the handler returns is the answer. Writes are on disk before the answer is returned. Messages come by the hooks Outbound
// (carbons of what is sent, blocking), Inbound (blocking, carbons of what is received) and Offline; blocking also
// sees the iqs of others by AccountIQ. AttachBlocking goes before the roster and
// all others, AttachOffline after the roster; Disco.Seal comes last, when all features are announced.
package ext

import (
	"log/slog"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Visible tells whether contact may know of the presence of owner: by the roster. Nil means nobody but owner.
type Visible func(owner, contact stanza.JID) bool

// own tells that an iq for an account comes from a client of that account.
func own(s *xmpp.Session, iq *stanza.Stanza) bool {
	return s != nil && (iq.To.IsZero() || iq.To.Bare() == s.JID().Bare())
}

// may is own, or visible.
func (v Visible) may(s *xmpp.Session, iq *stanza.Stanza) bool {
	return own(s, iq) || v != nil && !iq.From.IsZero() && v(iq.To.Bare(), iq.From.Bare())
}

// failed logs an error of the store and is the answer to iq.
func failed(log *slog.Logger, iq *stanza.Stanza, what string, err error) *stanza.Stanza {
	log.Error(what, "from", iq.From.String(), "err", err)
	return iq.ErrorReply(stanza.ErrInternal)
}
