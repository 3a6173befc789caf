package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// parseModify reads a conference-modify. The error is a refusal of type *colibri.Error.
func parseModify(o object, meeting string) (*colibri.ConferenceModify, error) {
	w := &writer{}
	el := w.element(colibri.NS, "conference-modify", o, "meeting-id", "name", "create", "expire")
	if meeting != "" {
		el.SetAttr("meeting-id", meeting)
	}
	for _, e := range w.list(o, "endpoints") {
		el.Add(w.endpoint(e))
	}
	for _, r := range w.list(o, "relays") {
		x := w.entity("relay", r, "mesh-id")
		if _, ok := r["endpoints"]; ok {
			far := stanza.NewElement(colibri.NS, "endpoints")
			for _, e := range w.list(r, "endpoints") {
				far.Add(w.endpoint(e))
			}
			x.Add(far)
		}
		el.Add(x)
	}
	if list := w.list(o, "connects"); len(list) > 0 {
		el.Add(stanza.NewElement(colibri.NS, "connects").Add(stanza.NewElement(colibri.NS, "connect")))
	}
	if w.err != nil {
		return nil, &colibri.Error{Reason: colibri.ReasonBadRequest, Text: w.err.Error()}
	}
	return colibri.ParseModify(el)
}

// writer makes elements of objects; the first value of a wrong type is kept as error.
type writer struct{ err error }

func (w *writer) wrong(key, want string) {
	if w.err == nil {
		w.err = fmt.Errorf("%s is no %s", key, want)
	}
}

// text is a value as an attribute has it; null is as if it were not there.
func (w *writer) text(key string, v any) string {
	switch v := v.(type) {
	case nil:
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		w.wrong(key, "text, number or boolean")
	}
	return ""
}

// element has the attributes of o that are named.
func (w *writer) element(space, name string, o object, attrs ...string) *stanza.Element {
	el := stanza.NewElement(space, name)
	for _, key := range attrs {
		if s := w.text(key, o[key]); s != "" {
			el.SetAttr(key, s)
		}
	}
	return el
}

// list is an array of objects.
func (w *writer) list(o object, key string) (out []object) {
	all, ok := o[key].([]any)
	if !ok && o[key] != nil {
		w.wrong(key, "array")
	}
	for _, v := range all {
		x, ok := v.(object)
		if !ok {
			w.wrong(key, "array of objects")
			return nil
		}
		out = append(out, x)
	}
	return out
}

// child is an object inside another, nil when there is none.
func (w *writer) child(o object, key string) object {
	x, ok := o[key].(object)
	if !ok && o[key] != nil {
		w.wrong(key, "object")
	}
	return x
}

func (w *writer) endpoint(o object) *stanza.Element {
	el := w.entity("endpoint", o, "stats-id", "muc-role")
	all, ok := o["capabilities"].([]any)
	if !ok && o["capabilities"] != nil {
		w.wrong("capabilities", "array")
	}
	for _, c := range all {
		el.Add(stanza.NewElement(colibri.NS, "capability", "name", w.text("capabilities", c)))
	}
	if m := w.child(o, "force-mute"); m != nil {
		el.Add(w.element(colibri.NS, "force-mute", m, "audio", "video"))
	}
	if v, ok := o["initial-last-n"]; ok {
		el.Add(stanza.NewElement(colibri.NS, "initial-last-n", "value", w.text("initial-last-n", v)))
	}
	return el
}

// entity is what endpoints and relays have in common.
func (w *writer) entity(name string, o object, attrs ...string) *stanza.Element {
	el := w.element(colibri.NS, name, o, append(attrs, "id", "create", "expire")...)
	for _, m := range w.list(o, "medias") {
		el.Add(w.media(m))
	}
	if t := w.child(o, "transport"); t != nil {
		x := w.element(colibri.NS, "transport", t, "ice-controlling", "ice-restart", "use-unique-port")
		if s := w.child(t, "sctp"); s != nil {
			x.Add(w.element(colibri.NS, "sctp", s, "role", "port"))
		}
		if ice := w.child(t, "transport"); ice != nil {
			x.Add(w.transport(ice))
		}
		el.Add(x)
	}
	if _, ok := o["sources"]; ok {
		el.Add(w.sources(o))
	}
	return el
}

func (w *writer) media(o object) *stanza.Element {
	el := w.element(colibri.NS, "media", o, "type")
	for _, p := range w.list(o, "payload-types") {
		x := w.element(jingle.NSRTP, "payload-type", p, "id", "name", "clockrate", "channels")
		params := w.child(p, "parameters")
		for _, name := range slices.Sorted(maps.Keys(params)) {
			x.Add(stanza.NewElement(jingle.NSRTP, "parameter", "name", name, "value", w.text(name, params[name])))
		}
		for _, f := range w.list(p, "rtcp-fbs") {
			x.Add(w.element(jingle.NSRTCPFB, "rtcp-fb", f, "type", "subtype"))
		}
		el.Add(x)
	}
	for _, h := range w.list(o, "rtp-hdrexts") {
		el.Add(w.element(jingle.NSHdrExt, "rtp-hdrext", h, "id", "uri"))
	}
	return el
}

func (w *writer) transport(o object) *stanza.Element {
	el := w.element(jingle.NSICE, "transport", o, "ufrag", "pwd")
	for _, f := range w.list(o, "fingerprints") {
		el.Add(stanza.TextElement(jingle.NSDTLS, "fingerprint", w.text("fingerprint", f["fingerprint"]), "hash", w.text("hash", f["hash"]), "setup", w.text("setup", f["setup"])))
	}
	for _, c := range w.list(o, "candidates") {
		el.Add(w.element(jingle.NSICE, "candidate", c, "foundation", "component", "protocol", "priority", "ip", "port", "type", "generation", "id", "network", "rel-addr", "rel-port", "tcptype"))
	}
	return el
}

func (w *writer) sources(o object) *stanza.Element {
	el := stanza.NewElement(colibri.NS, "sources")
	for _, ms := range w.list(o, "sources") {
		x := w.element(colibri.NS, "media-source", ms, "type", "id")
		for _, s := range w.list(ms, "sources") {
			x.Add(w.element(jingle.NSSSMA, "source", s, "ssrc", "name", "videoType"))
		}
		for _, g := range w.list(ms, "groups") {
			group := w.element(jingle.NSSSMA, "ssrc-group", g, "semantics")
			all, ok := g["sources"].([]any)
			if !ok {
				w.wrong("sources of a group", "array")
			}
			for _, s := range all { // a number, or an object that has it
				if inner, ok := s.(object); ok {
					s = inner["ssrc"]
				}
				group.Add(stanza.NewElement(jingle.NSSSMA, "source", "ssrc", w.text("ssrc", s)))
			}
			x.Add(group)
		}
		el.Add(x)
	}
	return el
}
