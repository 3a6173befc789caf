package muc

import (
	"encoding/json"

	"konzil/xmpp/stanza"
)

const nsCorrect = "urn:xmpp:message-correct:0"

// correction is a new text for a message that was said: by XEP-0308, or as jitsi-meet says it in JSON.
type correction struct{ target, text string }

// readCorrection understands both; false: st is none.
func readCorrection(st *stanza.Stanza) (correction, bool) {
	if id := st.Child(nsCorrect, "replace").Attr("id"); id != "" {
		return correction{id, st.Child(stanza.NSClient, "body").Text()}, st.Has(stanza.NSClient, "body")
	}
	el := st.Child(nsJitMeet, "json-message")
	if el == nil {
		return correction{}, false
	}
	var edit struct {
		Type    string  `json:"type"`
		ID      string  `json:"messageId"`
		Message *string `json:"message"`
	}
	if json.Unmarshal([]byte(el.Text()), &edit) != nil || edit.Type != "editChat" || edit.ID == "" || edit.Message == nil {
		return correction{}, false
	}
	return correction{edit.ID, *edit.Message}, true
}

// rewrite holds a change of a message of the past to its author, in a meeting, and brings the history up to date, so that newcomers get the
// present text and nothing else (jitsi-meet's mod_muc_message_moderation). edited: st is a correction and is not kept itself. The room is locked.
func (r *room) rewrite(o *occupant, st *stanza.Stanza) (edited bool, _ *stanza.Error) {
	target := st.Child(nsRetract, "retract").Attr("id")
	c, edited := readCorrection(st)
	if edited {
		target = c.target
	}
	if target == "" {
		return false, nil
	}
	for i, e := range r.past {
		if e.st.ID != target && e.id != target {
			continue
		}
		if e.by != o.id {
			return edited, stanza.ErrForbidden.With("Only the author may change a message")
		}
		if edited {
			r.past = append([]histEntry(nil), r.past...)
			r.past[i].st = withBody(e.st, c.text)
			r.pastBytes += r.past[i].st.Size() - e.size
			r.past[i].size = r.past[i].st.Size()
		}
		break
	}
	return edited, nil
}

// withBody is a message with another text.
func withBody(st *stanza.Stanza, text string) *stanza.Stanza {
	var payload []*stanza.Element
	for _, e := range st.Payload() {
		if e.Space == stanza.NSClient && e.Local == "body" {
			e = stanza.TextElement(stanza.NSClient, "body", text)
		}
		payload = append(payload, e)
	}
	return st.WithPayload(payload...)
}
