package muc

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"konzil/xmpp/stanza"
)

const (
	nsCommands   = "http://jabber.org/protocol/commands"
	hatCommands  = "urn:xmpp:hats:commands" // the nodes begin with it, and it is the FORM_TYPE (XEP-0317 §5)
	fieldHatJID  = "hats#jid"
	fieldHatURI  = "hats#uri"
	fieldHatName = "hats#title"
	fieldHatHue  = "hats#hue"
)

// hatCommand is an ad-hoc command of a room (XEP-0050). Its form may be submitted without having been asked for (XEP-0317 §4.2): no state is kept between
// the two, and a session id is only given back.
type hatCommand struct {
	node, title string
	least       affiliation                                                  // of who may use it; none: who may look at the room
	ask         func(r *room) []*stanza.Element                              // fields of its form; nil: it has none
	do          func(r *room, f form) (changedHats, *stanza.Error)           // with the submitted form; nil: it lists
	list        func(r *room) (reported []string, items []map[string]string) // what it lists
}

// changedHats tells whose presence has to be told anew, and whether the list of hats is another one.
type changedHats struct {
	worn func(bare stanza.JID) bool
	list bool
}

// hatCommandList is in the order of XEP-0317 §4.
func hatCommandList() []hatCommand {
	return []hatCommand{
		{node: "create", title: "Create or change a hat", least: owner, ask: askNewHat, do: (*room).createHat},
		{node: "destroy", title: "Destroy a hat", least: owner, ask: func(r *room) []*stanza.Element { return []*stanza.Element{r.hatField()} }, do: (*room).destroyHat},
		{node: "list", title: "List hats", list: (*room).listHats},
		{node: "assign", title: "Give somebody a hat", least: admin, ask: askWearer, do: (*room).assignHat},
		{node: "unassign", title: "Take a hat from somebody", least: admin, ask: askWearer, do: (*room).unassignHat},
		{node: "list-assigned", title: "List who wears which hat", least: admin, list: (*room).listWorn},
	}
}

// hatCommand finds a command that from may use. The room is locked, as for all of this file.
func (r *room) hatCommand(node string, from stanza.JID) (*hatCommand, *stanza.Error) {
	for _, c := range hatCommandList() {
		if node == hatCommands+":"+c.node {
			if !r.mayCommand(&c, from) {
				return nil, stanza.ErrForbidden.With("That takes more than your affiliation with this room")
			}
			return &c, nil
		}
	}
	return nil, stanza.ErrItemNotFound
}

func (r *room) mayCommand(c *hatCommand, from stanza.JID) bool {
	if c.least == none {
		return r.mayLook(from) && r.affiliation(from.Bare()) != outcast
	}
	return r.affiliation(from.Bare()) >= c.least
}

// commandItems lists the commands that from may use, commandInfo describes one (XEP-0050 §2.1 to §2.3).
func (r *room) commandItems(from stanza.JID) *stanza.Element {
	q := stanza.NewElement(nsDiscoItem, "query", "node", nsCommands)
	for _, c := range hatCommandList() {
		if r.mayCommand(&c, from) {
			q.Add(stanza.NewElement(nsDiscoItem, "item", "jid", r.jid.String(), "node", hatCommands+":"+c.node, "name", c.title))
		}
	}
	return q
}

func (r *room) commandInfo(node string, from stanza.JID) *stanza.Element {
	q := stanza.NewElement(nsDiscoInfo, "query", "node", node)
	if node == nsCommands {
		return q.Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "automation", "type", "command-list", "name", "Commands"))
	}
	c, err := r.hatCommand(node, from)
	if err != nil {
		return nil
	}
	return q.Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "automation", "type", "command-node", "name", c.title), feature(nsCommands), feature(nsData))
}

// commandIQ carries out a command (XEP-0317 §4).
func (r *room) commandIQ(st *stanza.Stanza) {
	e := st.Child(nsCommands, "command")
	c, err := r.hatCommand(e.Attr("node"), st.From)
	if err != nil {
		r.fail(st, err)
		return
	}
	id := e.Attr("sessionid")
	if id == "" {
		id = newID()
	}
	reply := func(status string, more ...*stanza.Element) *stanza.Stanza {
		return st.Result(stanza.NewElement(nsCommands, "command", "node", e.Attr("node"), "sessionid", id, "status", status).Add(more...))
	}
	x := e.Child(nsData, "x")
	switch action := e.Attr("action"); {
	case action == "cancel":
		r.answer(reply("canceled"))
	case action != "" && action != "execute" && action != "complete" && action != "next":
		r.fail(st, stanza.ErrBadRequest.With("", stanza.NewElement(nsCommands, "bad-action")))
	case c.list != nil:
		r.answer(reply("completed", c.result(r)))
	case x == nil:
		r.answer(reply("executing", stanza.NewElement(nsCommands, "actions", "execute", "complete").Add(stanza.NewElement(nsCommands, "complete")), c.form(r)))
	default:
		f, perr := parseForm(x)
		if perr != nil || f.formType() != "" && f.formType() != hatCommands {
			r.fail(st, stanza.ErrBadRequest.With("That is no submitted form of this command", stanza.NewElement(nsCommands, "bad-payload")))
			return
		}
		r.changeHats(st, c, f, reply("completed"))
	}
}

func (c *hatCommand) form(r *room) *stanza.Element {
	return stanza.NewElement(nsData, "x", "type", "form").Add(stanza.TextElement(nsData, "title", c.title),
		field("FORM_TYPE", "hidden", "", hatCommands)).Add(c.ask(r)...)
}

// result is the table of a command that lists.
func (c *hatCommand) result(r *room) *stanza.Element {
	names, rows := c.list(r)
	head := stanza.NewElement(nsData, "reported")
	for _, n := range names {
		head.Add(stanza.NewElement(nsData, "field", "var", n, "type", "text-single"))
	}
	x := stanza.NewElement(nsData, "x", "type", "result").Add(stanza.TextElement(nsData, "title", c.title), field("FORM_TYPE", "hidden", "", hatCommands), head)
	for _, row := range rows {
		it := stanza.NewElement(nsData, "item")
		for _, n := range names {
			it.Add(stanza.NewElement(nsData, "field", "var", n).Add(stanza.TextElement(nsData, "value", row[n])))
		}
		x.Add(it)
	}
	return x
}

// changeHats carries out a command with its form, keeps what came of it and tells all inside.
func (r *room) changeHats(st *stanza.Stanza, c *hatCommand, f form, done *stanza.Stanza) {
	if r.full(st) {
		return
	}
	changed, err := c.do(r, f)
	if err != nil {
		r.fail(st, err)
		return
	}
	rec := r.record(false)
	r.stored(st, func(ctx context.Context, s Store) error { return s.SaveRoom(ctx, rec) }, func() { r.svc.reply(done) })
	if changed.worn != nil {
		r.showHats(changed.worn)
	}
	if changed.list {
		r.tellConfig(r.set, r.logged())
	}
}

func required(el *stanza.Element) *stanza.Element {
	return el.Add(stanza.NewElement(nsData, "required"))
}

func askNewHat(*room) []*stanza.Element {
	return []*stanza.Element{
		required(field(fieldHatName, "text-single", "Title")), required(field(fieldHatURI, "text-single", "URI")), field(fieldHatHue, "text-single", "Hue of its colour, in degrees"),
	}
}

func askWearer(r *room) []*stanza.Element {
	return []*stanza.Element{required(field(fieldHatJID, "jid-single", "Address")), r.hatField()}
}

// hatField is the choice among the hats of the room.
func (r *room) hatField() *stanza.Element {
	el := required(field(fieldHatURI, "list-single", "Hat"))
	for _, h := range r.rack.Hats {
		el.Add(stanza.NewElement(nsData, "option", "label", h.Title).Add(stanza.TextElement(nsData, "value", h.URI)))
	}
	return el
}

// createHat makes a hat, or changes the one of that URI.
func (r *room) createHat(f form) (changedHats, *stanza.Error) {
	h := Hat{URI: f.value(fieldHatURI), Title: f.value(fieldHatName), Hue: f.value(fieldHatHue)}
	if hue, err := strconv.ParseFloat(h.Hue, 64); h.Hue != "" && (err != nil || !(hue >= 0 && hue <= 360)) {
		return changedHats{}, stanza.ErrNotAcceptable.With("A hue is a number from 0 to 360")
	}
	i := r.rack.find(h.URI)
	switch {
	case h.URI == "" || len(h.URI) > maxHatURI || h.Title == "" || len(h.Title) > r.svc.cfg.MaxNick:
		return changedHats{}, stanza.ErrNotAcceptable.With("A hat has a URI and a title, which are not too long")
	case i < 0 && len(r.rack.Hats) >= maxHats:
		return changedHats{}, stanza.ErrResourceConstraint.With("There are too many hats")
	case i < 0:
		r.rack.Hats = append(r.rack.Hats, h)
		return changedHats{list: true}, nil
	}
	r.rack.Hats[i] = h
	return changedHats{worn: r.wearers(h.URI), list: true}, nil
}

func (r *room) destroyHat(f form) (changedHats, *stanza.Error) {
	i := r.rack.find(f.value(fieldHatURI))
	if i < 0 {
		return changedHats{}, stanza.ErrItemNotFound.With("There is no such hat")
	}
	uri := r.rack.Hats[i].URI
	worn := r.wearers(uri)
	r.rack.Hats = slices.Delete(r.rack.Hats, i, i+1)
	for bare := range maps.Clone(r.rack.Worn) {
		r.rack.take(bare, uri)
	}
	return changedHats{worn: worn, list: true}, nil
}

// wearers tells who wears a hat as of now.
func (r *room) wearers(uri string) func(stanza.JID) bool {
	who := map[string]bool{}
	for bare, uris := range r.rack.Worn {
		if slices.Contains(uris, uri) {
			who[bare] = true
		}
	}
	return func(bare stanza.JID) bool { return who[bare.String()] }
}

// wearer reads whose hat it is about.
func (r *room) wearer(f form) (bare stanza.JID, hat int, _ *stanza.Error) {
	j, err := stanza.ParseJID(f.value(fieldHatJID))
	if err != nil || j.Local() == "" {
		return stanza.JID{}, 0, stanza.ErrJIDMalformed
	}
	if hat = r.rack.find(f.value(fieldHatURI)); hat < 0 {
		return stanza.JID{}, 0, stanza.ErrItemNotFound.With("There is no such hat")
	}
	return j.Bare(), hat, nil
}

func (r *room) assignHat(f form) (changedHats, *stanza.Error) {
	bare, hat, err := r.wearer(f)
	if err != nil {
		return changedHats{}, err
	}
	uri, who := r.rack.Hats[hat].URI, bare.String()
	switch worn := r.rack.Worn[who]; {
	case slices.Contains(worn, uri):
		return changedHats{}, nil
	case worn == nil && len(r.rack.Worn) >= r.svc.cfg.MaxAffiliations:
		return changedHats{}, stanza.ErrResourceConstraint.With("Too many people wear hats")
	}
	if r.rack.Worn == nil {
		r.rack.Worn = map[string][]string{}
	}
	r.rack.Worn[who] = append(slices.Clone(r.rack.Worn[who]), uri)
	return changedHats{worn: func(j stanza.JID) bool { return j == bare }}, nil
}

func (r *room) unassignHat(f form) (changedHats, *stanza.Error) {
	bare, hat, err := r.wearer(f)
	if err != nil {
		return changedHats{}, err
	}
	if !r.rack.take(bare.String(), r.rack.Hats[hat].URI) {
		return changedHats{}, stanza.ErrItemNotFound.With("That hat is not worn")
	}
	return changedHats{worn: func(j stanza.JID) bool { return j == bare }}, nil
}

func (h *Hat) row() map[string]string {
	return map[string]string{fieldHatName: h.Title, fieldHatURI: h.URI, fieldHatHue: h.Hue}
}

func (r *room) listHats() (names []string, rows []map[string]string) {
	for _, h := range r.rack.Hats {
		rows = append(rows, h.row())
	}
	return []string{fieldHatName, fieldHatURI, fieldHatHue}, rows
}

func (r *room) listWorn() (names []string, rows []map[string]string) {
	for _, who := range slices.Sorted(maps.Keys(r.rack.Worn)) {
		for _, h := range r.rack.Hats {
			if slices.Contains(r.rack.Worn[who], h.URI) {
				row := h.row()
				row[fieldHatJID] = who
				rows = append(rows, row)
			}
		}
	}
	return []string{fieldHatJID, fieldHatURI, fieldHatName, fieldHatHue}, rows
}
