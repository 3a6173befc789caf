package pubsub

import (
	"crypto/sha1" // XEP-0115 §5.1 names it; what it protects is which notifications are sent
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

const (
	maxCaps      = 4096 // hashes in memory; there are some hundred clients and versions in use
	maxQuestions = 10_000
	questionTime = time.Minute // how long an answer is waited for when others want to ask
	maxInterests = 256         // nodes that one client asks for
	maxVer       = 256         // bytes of a hash, or a node with it
)

// capsID is what a client says of its capabilities: the hash, or, of an old kind, a node and a version.
type capsID struct{ hash, ver string }

// interests are the nodes that a client wants to hear of ("+notify"). Never changed after it is made; nil: none.
type interests struct{ nodes []string } // sorted

func (i *interests) has(node string) bool {
	if i == nil {
		return false
	}
	_, ok := slices.BinarySearch(i.nodes, node)
	return ok
}

// caps remembers what hashes stand for. What is remembered for all has been verified by the hash; else one client could decide what another one gets
// (XEP-0115 §5.4).
type caps struct {
	mu        sync.Mutex // guards all below
	known     map[capsID]*interests
	order     []capsID // oldest first, to forget
	questions map[string]question
}

// question is a disco#info that was sent and has no answer yet.
type question struct {
	to, account stanza.JID
	id          capsID
	at          time.Time
}

func newCaps() *caps { return &caps{known: map[capsID]*interests{}, questions: map[string]question{}} }

// idOf reads the <c/> of a presence; false: there is none that can be used.
func idOf(c *stanza.Element) (capsID, bool) {
	id := capsID{c.Attr("hash"), c.Attr("ver")}
	if id.hash == "" {
		id.ver = c.Attr("node") + "#" + id.ver
	}
	return id, c != nil && c.Attr("ver") != "" && len(id.ver) <= maxVer && len(id.hash) <= maxVer
}

func (c *caps) get(id capsID) (*interests, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.known[id]
	return i, ok
}

func (c *caps) put(id capsID, i *interests) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[id]; ok {
		return
	}
	if len(c.order) >= maxCaps {
		delete(c.known, c.order[0])
		c.order = append(c.order[:0:0], c.order[1:]...)
	}
	c.known[id] = i
	c.order = append(c.order, id)
}

// ask notes a question; false: there are too many.
func (c *caps) ask(name string, q question) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.questions) >= maxQuestions {
		for k, old := range c.questions {
			if q.at.Sub(old.at) > questionTime {
				delete(c.questions, k)
			}
		}
	}
	if len(c.questions) >= maxQuestions {
		return false
	}
	c.questions[name] = q
	return true
}

// answered gives the question that an answer belongs to: with that id, sent to who answers.
func (c *caps) answered(st *stanza.Stanza) (question, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, ok := c.questions[st.ID]
	if !ok || q.to != st.From || q.account != st.To {
		return question{}, false
	}
	delete(c.questions, st.ID)
	return q, true
}

// read takes the interests from a disco#info answer.
func read(query *stanza.Element) *interests {
	i := &interests{}
	for _, f := range query.ChildrenNamed(nsInfo, "feature") {
		if node, ok := strings.CutSuffix(f.Attr("var"), "+notify"); ok && len(node) <= maxName && len(i.nodes) < maxInterests {
			i.nodes = append(i.nodes, strings.Clone(node))
		}
	}
	slices.Sort(i.nodes)
	i.nodes = slices.Compact(i.nodes)
	return i
}

// verified tells whether the answer has the hash that was announced (XEP-0115 §5.4).
func verified(id capsID, query *stanza.Element) bool {
	h := map[string]func() hash.Hash{"sha-1": sha1.New, "sha-256": sha256.New, "sha-512": sha512.New}[id.hash]
	if h == nil {
		return false
	}
	s, ok := capsString(query)
	if !ok {
		return false
	}
	sum := h()
	sum.Write([]byte(s))
	return base64.StdEncoding.EncodeToString(sum.Sum(nil)) == id.ver
}

// capsString is the string that is hashed (XEP-0115 §5.1); false: something is there twice, which could hide one thing behind another (§5.4, 3.3 ff).
// A separator in a value could do the same, so it makes the answer invalid.
func capsString(query *stanza.Element) (string, bool) {
	clean := true
	word := func(s string) string {
		clean = clean && !strings.Contains(s, "<")
		return s
	}
	var ids, features, forms []string
	for _, c := range query.Children() {
		switch {
		case c.Space == nsInfo && c.Local == "identity":
			lang := ""
			for _, a := range c.Attrs {
				if a.Space == stanza.NSXML && a.Local == "lang" {
					lang = a.Value
				}
			}
			ids = append(ids, word(c.Attr("category"))+"/"+word(c.Attr("type"))+"/"+word(lang)+"/"+word(c.Attr("name"))+"<")
		case c.Space == nsInfo && c.Local == "feature":
			features = append(features, word(c.Attr("var"))+"<")
		case c.Space == nsData && c.Local == "x":
			text, ok := formString(c, word)
			clean = clean && ok
			if text != "" {
				forms = append(forms, text)
			}
		}
	}
	var types []string
	for _, f := range forms {
		t, _, _ := strings.Cut(f, "<")
		types = append(types, t)
	}
	for _, list := range [][]string{ids, features, forms, types} {
		slices.Sort(list)
		if len(slices.Compact(slices.Clone(list))) != len(list) {
			return "", false
		}
	}
	return strings.Join(ids, "") + strings.Join(features, "") + strings.Join(forms, ""), clean
}

// formString is an extended form in that string; "" for one without a hidden FORM_TYPE, which does not count; false: it is ill-formed.
func formString(x *stanza.Element, word func(string) string) (string, bool) {
	typ, counts := "", false
	var fields []string
	for _, f := range x.ChildrenNamed(nsData, "field") {
		var values []string
		for _, v := range f.ChildrenNamed(nsData, "value") {
			values = append(values, word(v.Text())+"<")
		}
		slices.Sort(values)
		if f.Attr("var") == "FORM_TYPE" {
			if len(values) == 0 || values[0] != values[len(values)-1] || typ != "" {
				return "", false
			}
			typ, counts = values[0], f.Attr("type") == "hidden"
			continue
		}
		fields = append(fields, word(f.Attr("var"))+"<"+strings.Join(values, ""))
	}
	slices.Sort(fields)
	if !counts {
		return "", true
	}
	return typ + strings.Join(fields, ""), true
}
