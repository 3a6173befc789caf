package ext

import (
	"crypto/sha1" // XEP-0115 §8 names it; it is no protection
	"encoding/base64"
	"slices"
	"strings"
	"sync/atomic"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsDiscoItem = "http://jabber.org/protocol/disco#items"
	nsCaps      = "http://jabber.org/protocol/caps"
	nsData      = "jabber:x:data"
)

// Identity is what an entity is (XEP-0030 §3.1).
type Identity struct{ Category, Type, Name, Lang string }

// Item is an entity that belongs to the server (XEP-0030 §4).
type Item struct {
	JID, Name string
	There     func() bool // nil: always
}

// DiscoOptions is what the operator and the other parts say of the server.
type DiscoOptions struct {
	Name    string  // of the server
	Node    string  // URI of the software, for entity capabilities
	About   About   // what the operator tells
	Visible Visible // who may ask about an account

	// NodeInfo and Nodes, if set, answer for what accounts publish (XEP-0060 §5): disco#info of a node, disco#items with or without one.
	NodeInfo, Nodes func(iq *stanza.Stanza) *stanza.Stanza
}

// Disco answers disco#info and disco#items of the server, the guests' domain and accounts.
type Disco struct {
	srv        *xmpp.Server
	opt        DiscoOptions
	identities []Identity
	items      []Item
	doors      map[string][]Identity  // of domains under which the server is known to guests (xmpp.Config.GuestDoors)
	ver        atomic.Pointer[string] // set by Seal and Reseal
	delegated  func(accounts bool) map[string]*stanza.Element

	// serverNode answers for nodes of the server, items or info; nil: not its.
	serverNode func(iq *stanza.Stanza, node string, items bool) *stanza.Element
}

// AttachDisco adds service discovery to s.
func AttachDisco(s *xmpp.Server, opt DiscoOptions) *Disco {
	if opt.Node == "" {
		opt.Node = "urn:konzil:server"
	}
	d := &Disco{srv: s, opt: opt, doors: map[string][]Identity{}, identities: []Identity{{Category: "server", Type: "im", Name: opt.Name}}}
	h := s.Hooks()
	h.Feature(xmpp.ToServer, nsDiscoInfo, nsDiscoItem, nsCaps) // XEP-0115 §6.1
	h.Feature(xmpp.ToAccount, nsDiscoInfo, nsDiscoItem)
	if opt.About.InfoNode != "" {
		h.Feature(xmpp.ToServer, "urn:xmpp:serverinfo:0") // XEP-0485 §3
	}
	h.IQ(xmpp.ToServer, nsDiscoInfo, "query", d.serverInfo)
	h.IQ(xmpp.ToServer, nsDiscoItem, "query", d.serverItems)
	h.IQ(xmpp.ToAccount, nsDiscoInfo, "query", d.accountInfo)
	h.IQ(xmpp.ToAccount, nsDiscoItem, "query", d.accountItems)
	h.AccountIQ(d.nobody)
	return d
}

// Identity announces a further identity of the server, as component/speakerstats with the component's address as name is for Jitsi clients.
// Announce only what is mounted.
func (d *Disco) Identity(category, typ, name string) {
	d.identities = append(d.identities, Identity{Category: category, Type: typ, Name: name})
}

// Door announces what a domain of xmpp.Config.GuestDoors is, instead of the server's identities.
func (d *Disco) Door(domain string, ids ...Identity) { d.doors[domain] = ids }

// Item announces an entity in disco#items, e.g. the MUC service.
func (d *Disco) Item(jid, name string) { d.items = append(d.items, Item{JID: jid, Name: name}) }

// ItemWhile is Item for what comes and goes: clients that ask all items, and give up when one has an error, are spared it.
func (d *Disco) ItemWhile(there func() bool, jid, name string) {
	d.items = append(d.items, Item{jid, name, there})
}

// Seal computes the server's capabilities and puts them into the stream features (XEP-0115 §6.3). It comes after everything else is attached.
func (d *Disco) Seal() {
	d.Reseal()
	d.srv.Hooks().LiveStreamFeature(func() *stanza.Element {
		return stanza.NewElement(nsCaps, "c", "hash", "sha-1", "node", d.opt.Node, "ver", *d.ver.Load())
	})
}

// Reseal computes the capabilities anew, when what components announce has changed.
func (d *Disco) Reseal() {
	ids, features, forms := d.announced(xmpp.ToServer, d.identities)
	ver := capsHash(ids, features, append(d.opt.About.forms(), forms...))
	d.ver.Store(&ver)
}

// PushTo sends what the server is to sessions that want accepts, before they have the answer to their bind, which saves Jitsi clients the
// questions (jitsi-meet's mod_jiconop). Those who get a room_metadata identity by it look for TURN servers in the room's metadata.
// features are further ones that clients would ask the components for.
func (d *Disco) PushTo(want func(*xmpp.Session) bool, features ...string) {
	d.srv.Hooks().Bound(func(s *xmpp.Session) {
		if !want(s) {
			return
		}
		from, err := stanza.ParseJID(d.srv.Domain())
		if err != nil {
			return // the server would not have started with such a name
		}
		q := d.info("")
		for _, f := range features {
			q.Add(stanza.NewElement(nsDiscoInfo, "feature", "var", f))
		}
		s.Send(stanza.NewMessage("", from, s.JID(), q))
	})
}

// info is the server's answer.
func (d *Disco) info(node string) *stanza.Element {
	ids, features, forms := d.announced(xmpp.ToServer, d.identities)
	return describe(stanza.NewElement(nsDiscoInfo, "query", "node", node), ids, features, append(d.opt.About.forms(), forms...))
}

func describe(q *stanza.Element, ids []Identity, features []string, forms []*stanza.Element) *stanza.Element {
	for _, i := range ids {
		el := stanza.NewElement(nsDiscoInfo, "identity", "category", i.Category, "type", i.Type, "name", i.Name)
		if i.Lang != "" {
			el.Attrs = append(el.Attrs, stanza.Attr{Space: stanza.NSXML, Local: "lang", Value: i.Lang})
		}
		q.Add(el)
	}
	for _, f := range features {
		q.Add(stanza.NewElement(nsDiscoInfo, "feature", "var", f))
	}
	return q.Add(forms...)
}

func (d *Disco) serverInfo(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	node := iq.Child(nsDiscoInfo, "query").Attr("node")
	if iq.Type == "get" && node != "" && d.serverNode != nil {
		if q := d.serverNode(iq, node, false); q != nil {
			return iq.Result(q)
		}
	}
	switch {
	case iq.Type != "get":
		return iq.ErrorReply(stanza.ErrNotAllowed)
	case node != "" && (d.ver.Load() == nil || node != d.opt.Node+"#"+*d.ver.Load()):
		return iq.ErrorReply(stanza.ErrItemNotFound)
	}
	if ids, ok := d.doors[iq.To.Domain()]; ok {
		ids, features, _ := d.announced(xmpp.ToServer, ids)
		return iq.Result(describe(stanza.NewElement(nsDiscoInfo, "query", "node", node), ids, features, nil))
	}
	return iq.Result(d.info(node))
}

func (d *Disco) serverItems(_ *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	q := stanza.NewElement(nsDiscoItem, "query")
	if node := iq.Child(nsDiscoItem, "query").Attr("node"); iq.Type == "get" && node != "" && d.serverNode != nil {
		if q := d.serverNode(iq, node, true); q != nil {
			return iq.Result(q)
		}
	}
	switch {
	case iq.Type != "get":
		return iq.ErrorReply(stanza.ErrNotAllowed)
	case iq.Child(nsDiscoItem, "query").Attr("node") != "":
		return iq.ErrorReply(stanza.ErrItemNotFound)
	case iq.To.Domain() != d.srv.Domain():
		return iq.Result(q)
	}
	for _, i := range d.items {
		if i.There != nil && !i.There() {
			continue
		}
		q.Add(stanza.NewElement(nsDiscoItem, "item", "jid", i.JID, "name", i.Name))
	}
	return iq.Result(q)
}

// accountInfo is about an account; a stranger learns nothing, not even that it exists (XEP-0030 §8).
func (d *Disco) accountInfo(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	switch {
	case iq.Type == "get" && own(s, iq) && d.serverNode != nil && d.serverNode(iq, iq.Child(nsDiscoInfo, "query").Attr("node"), false) != nil:
		return iq.Result(d.serverNode(iq, iq.Child(nsDiscoInfo, "query").Attr("node"), false))
	case iq.Type == "get" && d.opt.NodeInfo != nil && !d.guest(s, iq) && iq.Child(nsDiscoInfo, "query").Attr("node") != "": // it knows who may
		return d.opt.NodeInfo(iq)
	case iq.Type != "get" || !d.opt.Visible.may(s, iq):
		return iq.ErrorReply(stanza.ErrServiceUnavailable)
	case iq.Child(nsDiscoInfo, "query").Attr("node") != "":
		return iq.ErrorReply(stanza.ErrItemNotFound)
	}
	typ := "registered"
	if d.guest(s, iq) {
		typ = "anonymous"
	}
	ids := []Identity{{Category: "account", Type: typ}}
	if d.opt.NodeInfo != nil && typ != "anonymous" { // XEP-0163 §6.1
		ids = append(ids, Identity{Category: "pubsub", Type: "pep"})
	}
	ids, features, forms := d.announced(xmpp.ToAccount, ids)
	return iq.Result(describe(stanza.NewElement(nsDiscoInfo, "query"), ids, features, forms))
}

// guest tells whether an iq is for a guest.
func (d *Disco) guest(s *xmpp.Session, iq *stanza.Stanza) bool {
	domain := iq.To.Domain()
	return domain != "" && domain == d.srv.GuestDomain() || s != nil && iq.To.IsZero() && s.Guest()
}

func (d *Disco) accountItems(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	node := iq.Child(nsDiscoItem, "query").Attr("node")
	may := d.opt.Visible.may(s, iq)
	if iq.Type != "get" {
		return iq.ErrorReply(stanza.ErrNotAllowed)
	}
	if own(s, iq) && d.serverNode != nil {
		if q := d.serverNode(iq, node, true); q != nil {
			return iq.Result(q)
		}
	}
	if d.opt.Nodes != nil && !d.guest(s, iq) && (node != "" || may) {
		if r := d.opt.Nodes(iq); may || r.Type != "error" {
			return r
		}
	}
	return iq.Result(stanza.NewElement(nsDiscoItem, "query", "node", node))
}

// nobody answers for accounts that do not exist as for those that show a stranger nothing (XEP-0030 §8).
func (d *Disco) nobody(iq *stanza.Stanza) bool {
	if iq.Type != "get" || !iq.To.IsBare() || !iq.Has(nsDiscoItem, "query") || iq.To == iq.From.Bare() || d.srv.HasAccount(iq.To) {
		return false
	}
	d.srv.Route(iq.Result(stanza.NewElement(nsDiscoItem, "query", "node", iq.Child(nsDiscoItem, "query").Attr("node"))))
	return true
}

func unique(in []string) []string {
	out := make([]string, 0, len(in))
	for _, f := range in {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// capsHash is the verification string of XEP-0115 §5.1, hashed.
func capsHash(ids []Identity, features []string, forms []*stanza.Element) string {
	var s strings.Builder
	var lines []string
	for _, i := range ids {
		lines = append(lines, i.Category+"/"+i.Type+"/"+i.Lang+"/"+i.Name+"<")
	}
	slices.Sort(lines)
	s.WriteString(strings.Join(lines, ""))
	features = unique(features)
	slices.Sort(features)
	for _, f := range features {
		s.WriteString(f + "<")
	}
	var texts []string
	for _, x := range forms {
		texts = append(texts, formText(x))
	}
	slices.Sort(texts) // each begins with its FORM_TYPE
	s.WriteString(strings.Join(texts, ""))
	sum := sha1.Sum([]byte(s.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// formText is a form in the verification string: FORM_TYPE, then fields and their values sorted.
func formText(x *stanza.Element) string {
	typ := ""
	var fields []string
	for _, f := range x.ChildrenNamed(nsData, "field") {
		var values []string
		for _, v := range f.ChildrenNamed(nsData, "value") {
			values = append(values, v.Text()+"<")
		}
		slices.Sort(values)
		if f.Attr("var") == "FORM_TYPE" {
			typ = strings.Join(values, "")
			continue
		}
		fields = append(fields, f.Attr("var")+"<"+strings.Join(values, ""))
	}
	slices.Sort(fields)
	return typ + strings.Join(fields, "")
}
