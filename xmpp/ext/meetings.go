package ext

import (
	"regexp"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// nsMeetings are the namespaces that clients ask with: that of XEP-0483's examples and that which it announces.
var nsMeetings = []string{"urn:xmpp:http:online-meetings:initiate:0", "urn:xmpp:http:online-meetings:0"}

// meetingID are the names of meetings that a URL can hold as they are.
var meetingID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// AttachMeetings gives people with an account the URL of a video meeting (XEP-0483): one with a name that they say, or a new one. url makes a URL of a name.
func AttachMeetings(s *xmpp.Server, url func(name string) string) {
	s.Hooks().Feature(xmpp.ToServer, nsMeetings[0], "urn:xmpp:http:online-meetings#jitsi")
	for _, ns := range nsMeetings {
		s.Hooks().IQ(xmpp.ToServer, ns, "query", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
			q := iq.Child(ns, "query")
			name := q.Attr("id")
			switch {
			case sess == nil || sess.Guest() || iq.Type != "get":
				return iq.ErrorReply(stanza.ErrForbidden)
			case q.Attr("type") != "" && q.Attr("type") != "jitsi":
				return iq.ErrorReply(stanza.ErrServiceUnavailable.With("Meetings here are of the type jitsi"))
			case name == "":
				name = random.Hex(8)
			case !meetingID.MatchString(name):
				return iq.ErrorReply(stanza.ErrNotAcceptable.With("A meeting's name has letters, digits, - and _"))
			}
			out := stanza.NewElement(ns, "query")
			for _, what := range []string{"initiate", "invite"} {
				el := stanza.NewElement(ns, what, "type", "jitsi").Add(stanza.TextElement(ns, "url", url(name)))
				if desc := q.Child(ns, "desc"); desc != nil {
					el.Add(stanza.TextElement(ns, "desc", desc.Text()))
				}
				out.Add(el)
			}
			return iq.Result(out)
		})
	}
}
