package ext

import (
	"strconv"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsExtDisco1 = "urn:xmpp:extdisco:1"
	nsExtDisco2 = "urn:xmpp:extdisco:2"
)

// Service is an external service (XEP-0215 §3): a STUN or TURN server, with credentials where it needs some.
type Service struct {
	Type, Host string
	Port       int
	Transport  string // udp, tcp
	Username   string
	Password   string
	Expires    time.Time // of the credentials; zero: never
}

// AttachServices tells clients of this server which external services they may use. services gives those for a session; token the short-lived
// password of another service that a client names (e.g. type short-lived-token, host file-sharing), it may be nil.
func AttachServices(s *xmpp.Server, services func(*xmpp.Session) []Service, token func(s *xmpp.Session, typ, host string) (password string, ok bool)) {
	for _, ns := range []string{nsExtDisco2, nsExtDisco1} {
		s.Hooks().Feature(xmpp.ToServer, ns)
		s.Hooks().IQ(xmpp.ToServer, ns, "services", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
			if sess == nil || iq.Type != "get" {
				return iq.ErrorReply(stanza.ErrForbidden) // credentials are for our own people
			}
			typ := iq.Child(ns, "services").Attr("type")
			out := stanza.NewElement(ns, "services", "type", typ)
			for _, v := range services(sess) {
				if typ == "" || v.Type == typ {
					out.Add(v.element(ns))
				}
			}
			return iq.Result(out)
		})
		s.Hooks().IQ(xmpp.ToServer, ns, "credentials", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
			if sess == nil || iq.Type != "get" {
				return iq.ErrorReply(stanza.ErrForbidden)
			}
			return credentials(ns, iq, sess, services, token)
		})
	}
}

// credentials are for the services that a client names (§3.3).
func credentials(ns string, iq *stanza.Stanza, s *xmpp.Session, services func(*xmpp.Session) []Service, token func(*xmpp.Session, string, string) (string, bool)) *stanza.Stanza {
	want := iq.Child(ns, "credentials").Child(ns, "service")
	typ, host, port := want.Attr("type"), want.Attr("host"), want.Attr("port")
	if typ == "" || host == "" {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	out := stanza.NewElement(ns, "credentials")
	for _, v := range services(s) {
		if v.Type == typ && v.Host == host && (port == "" || port == strconv.Itoa(v.Port)) {
			out.Add(v.element(ns))
		}
	}
	if token != nil && len(out.Nodes) == 0 {
		if password, ok := token(s, typ, host); ok {
			out.Add(stanza.NewElement(ns, "service", "type", typ, "host", host, "port", port, "password", password))
		}
	}
	if len(out.Nodes) == 0 {
		return iq.ErrorReply(stanza.ErrItemNotFound)
	}
	return iq.Result(out)
}

func (v Service) element(ns string) *stanza.Element {
	el := stanza.NewElement(ns, "service", "type", v.Type, "host", v.Host)
	if v.Port != 0 {
		el.SetAttr("port", strconv.Itoa(v.Port))
	}
	if v.Transport != "" {
		el.SetAttr("transport", v.Transport)
	}
	if v.Username == "" && v.Password == "" {
		return el
	}
	el.SetAttr("username", v.Username).SetAttr("password", v.Password).SetAttr("restricted", "1")
	if !v.Expires.IsZero() {
		el.SetAttr("expires", v.Expires.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return el
}
