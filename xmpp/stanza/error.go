package stanza

// Error is a stanza error (RFC 6120 §8.3): type, defined condition, text for people and application conditions.
type Error struct {
	Type      string // auth, cancel, continue, modify, wait
	Condition string // an element name in NSStanzas
	Text      string
	App       []*Element // application-specific conditions, direct children of <error/>
}

func (e *Error) Error() string { return e.Condition + ": " + e.Text }

// The errors that are answered most. Make a copy with With to add words.
var (
	ErrBadRequest            = &Error{Type: "modify", Condition: "bad-request"}
	ErrConflict              = &Error{Type: "cancel", Condition: "conflict"}
	ErrFeatureNotImplemented = &Error{Type: "cancel", Condition: "feature-not-implemented"}
	ErrForbidden             = &Error{Type: "auth", Condition: "forbidden"}
	ErrGone                  = &Error{Type: "cancel", Condition: "gone"}
	ErrInternal              = &Error{Type: "cancel", Condition: "internal-server-error"}
	ErrItemNotFound          = &Error{Type: "cancel", Condition: "item-not-found"}
	ErrJIDMalformed          = &Error{Type: "modify", Condition: "jid-malformed"}
	ErrNotAcceptable         = &Error{Type: "modify", Condition: "not-acceptable"}
	ErrNotAllowed            = &Error{Type: "cancel", Condition: "not-allowed"}
	ErrNotAuthorized         = &Error{Type: "auth", Condition: "not-authorized"}
	ErrPolicyViolation       = &Error{Type: "modify", Condition: "policy-violation"}
	ErrRegistrationRequired  = &Error{Type: "auth", Condition: "registration-required"}
	ErrRemoteServerNotFound  = &Error{Type: "cancel", Condition: "remote-server-not-found"}
	ErrResourceConstraint    = &Error{Type: "wait", Condition: "resource-constraint"}
	ErrServiceUnavailable    = &Error{Type: "cancel", Condition: "service-unavailable"}
	ErrUnexpectedRequest     = &Error{Type: "wait", Condition: "unexpected-request"}
)

// With is a copy of e with a text and application conditions.
func (e *Error) With(text string, app ...*Element) *Error {
	return &Error{Type: e.Type, Condition: e.Condition, Text: text, App: app}
}

// Element is the <error/> child. It has the code of old beside the condition, because some clients read nothing else: Profanity makes its
// list of OMEMO devices only when asking for one is answered with 404.
func (e *Error) Element() *Element {
	el := NewElement(NSClient, "error", "type", e.Type, "code", e.code()).Add(NewElement(NSStanzas, e.Condition))
	if e.Text != "" {
		el.Add(TextElement(NSStanzas, "text", e.Text))
	}
	return el.Add(e.App...)
}

// code is what stood for the condition before there were conditions (XEP-0086 §3), "" for one that is younger.
func (e *Error) code() string {
	switch e.Condition {
	case "gone", "redirect":
		return "302"
	case "bad-request", "jid-malformed", "unexpected-request":
		return "400"
	case "not-authorized":
		return "401"
	case "payment-required":
		return "402"
	case "forbidden":
		return "403"
	case "item-not-found", "recipient-unavailable", "remote-server-not-found":
		return "404"
	case "not-allowed":
		return "405"
	case "not-acceptable":
		return "406"
	case "registration-required", "subscription-required":
		return "407"
	case "conflict":
		return "409"
	case "internal-server-error", "resource-constraint", "undefined-condition":
		return "500"
	case "feature-not-implemented":
		return "501"
	case "service-unavailable":
		return "503"
	case "remote-server-timeout":
		return "504"
	}
	return ""
}

// ErrorReply answers s with err, addressed back (RFC 6120 §8.3.1). It is nil where no error may be sent: for an error, and for an iq
// result (§8.2.3).
func (s *Stanza) ErrorReply(err *Error) *Stanza {
	if s.Type == "error" || s.Kind == IQ && s.Type == "result" {
		return nil
	}
	r := build(s.Kind, "error", s.ID, s.To, s.From, []*Element{err.Element()})
	if s.Kind == Message { // who has the answer need not have sent it: it is handled
		r.origin = s.origin
	}
	return r
}
