package muc

import (
	"maps"
	"slices"
	"strconv"

	"konzil/xmpp/stanza"
)

// handleService takes what is addressed to the service's domain.
func (s *Service) handleService(st *stanza.Stanza) {
	if st.Kind == stanza.Presence {
		if st.Type == "" {
			s.reply(st.ErrorReply(stanza.ErrJIDMalformed.With("Rooms have a name before the @")))
		}
		return
	}
	if st.Kind == stanza.Message || st.Type != "get" {
		s.reply(st.ErrorReply(stanza.ErrServiceUnavailable))
		return
	}
	switch st.First() {
	case stanza.Name{Space: nsDiscoInfo, Local: "query"}:
		s.reply(s.info(st))
	case stanza.Name{Space: nsDiscoItem, Local: "query"}:
		s.reply(s.items(st))
	case stanza.Name{Space: nsPing, Local: "ping"}:
		s.reply(st.Result())
	case stanza.Name{Space: nsSearch, Local: "search"}:
		s.reply(s.search(st))
	case stanza.Name{Space: nsUnique, Local: "unique"}: // XEP-0307
		s.reply(st.Result(stanza.TextElement(nsUnique, "unique", newID())))
	default:
		s.reply(st.ErrorReply(stanza.ErrServiceUnavailable))
	}
}

// info describes the service (XEP-0045 §6.1).
func (s *Service) info(st *stanza.Stanza) *stanza.Stanza {
	if st.Child(nsDiscoInfo, "query").Attr("node") != "" {
		return st.ErrorReply(stanza.ErrItemNotFound)
	}
	q := stanza.NewElement(nsDiscoInfo, "query").Add(stanza.NewElement(nsDiscoInfo, "identity",
		"category", "conference", "type", "text", "name", s.cfg.Name))
	for _, f := range []string{nsDiscoInfo, nsDiscoItem, nsMUC, nsPing, nsSelfPing, nsOccupant, nsSearch, nsUnique, nsVCard, nsModerate, nsHats} {
		q.Add(feature(f))
	}
	return st.Result(q)
}

// items lists the public rooms (§6.3).
func (s *Service) items(st *stanza.Stanza) *stanza.Stanza {
	q := stanza.NewElement(nsDiscoItem, "query")
	n := 0
	for _, r := range s.all() {
		if n == maxDiscoRooms {
			break
		}
		if title, ok := r.listing(); ok {
			q.Add(stanza.NewElement(nsDiscoItem, "item", "jid", r.jid.String(), "name", title))
			n++
		}
	}
	return st.Result(q)
}

func feature(v string) *stanza.Element { return stanza.NewElement(nsDiscoInfo, "feature", "var", v) }

// title is the name to show. The room is locked.
func (r *room) title() string {
	if r.set.Title != "" {
		return r.set.Title
	}
	return r.jid.Local()
}

// listing gives the name under which the room is announced, false for hidden rooms.
func (r *room) listing() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.title(), !r.dead && !r.locked && r.set.Public
}

// discoInfo describes the room (§6.4). The room is locked, as for all that follows.
func (r *room) discoInfo(st *stanza.Stanza) {
	inside := r.sessions[st.From] != nil || r.affiliation(st.From.Bare()) == owner
	switch node := st.Child(nsDiscoInfo, "query").Attr("node"); {
	case r.meeting && r.svc.cfg.HideRooms && !inside:
		r.fail(st, stanza.ErrForbidden.With("Only who is in the meeting may ask"))
		return
	case node == "x-roomuser-item": // §7.12
		q := stanza.NewElement(nsDiscoInfo, "query", "node", node)
		if nick := r.aff[st.From.Bare()].nick; nick != "" {
			q.Add(stanza.NewElement(nsDiscoInfo, "identity", "category", "conference", "type", "text", "name", nick))
		}
		r.answer(st.Result(q))
		return
	case node == nsMUC+"#traffic": // §18.1.1: no extensions are held back
		r.fail(st, stanza.ErrServiceUnavailable)
		return
	case node != "":
		if q := r.commandInfo(node, st.From); q != nil {
			r.answer(st.Result(q))
		} else {
			r.fail(st, stanza.ErrItemNotFound)
		}
		return
	}
	r.answer(st.Result(r.description()))
}

// description is the room's answer to disco#info.
func (r *room) description() *stanza.Element {
	q := stanza.NewElement(nsDiscoInfo, "query").Add(stanza.NewElement(nsDiscoInfo, "identity",
		"category", "conference", "type", "text", "name", r.title()))
	for _, f := range []string{nsDiscoInfo, nsDiscoItem, nsMUC, nsStableID, nsSelfPing, nsOccupant, nsSID, nsPing, nsModerate, nsModerate0, nsRetract, nsHats, nsCommands} {
		q.Add(feature(f))
	}
	if !r.meeting {
		q.Add(feature(nsRegister), feature(nsVCard))
	}
	if r.archived() {
		for _, f := range r.svc.archive.Features() {
			if f != nsSID {
				q.Add(feature(f))
			}
		}
		q.Add(feature(nsRetract + "#tombstone"))
	}
	return q.Add(r.modes()...).Add(r.roomInfo())
}

// modes are the features that tell how the room is set (§6.4).
func (r *room) modes() []*stanza.Element {
	pick := func(on bool, yes, no string) *stanza.Element {
		if on {
			return feature(yes)
		}
		return feature(no)
	}
	return []*stanza.Element{
		pick(r.set.Secret != "", "muc_passwordprotected", "muc_unsecured"),
		pick(r.set.MembersOnly, "muc_membersonly", "muc_open"),
		pick(r.set.Moderated, "muc_moderated", "muc_unmoderated"),
		pick(r.set.Anonymous, "muc_semianonymous", "muc_nonanonymous"),
		pick(r.set.Persistent, "muc_persistent", "muc_temporary"),
		pick(r.set.Public, "muc_public", "muc_hidden"),
	}
}

// roomInfo is the extended form (§6.4, §15.5) with what jitsi-meet reads.
func (r *room) roomInfo() *stanza.Element {
	x := stanza.NewElement(nsData, "x", "type", "result").Add(
		field("FORM_TYPE", "hidden", "", nsRoomInfo),
		field("muc#roominfo_description", "text-single", "Description", r.set.Description),
		field("muc#roominfo_occupants", "text-single", "Number of occupants", strconv.Itoa(len(r.order))),
		field("muc#roominfo_subject", "text-single", "Subject", r.subject.text),
		field("muc#roominfo_changesubject", "boolean", "Everybody may change the subject", boolean(r.set.ChangeSubject)),
		field("muc#maxhistoryfetch", "text-single", "Most history that is sent", strconv.Itoa(max(0, r.svc.cfg.History))),
	)
	if r.set.Lang != "" {
		x.Add(field("muc#roominfo_lang", "text-single", "Language", r.set.Lang))
	}
	if r.set.Avatar != "" { // XEP-0486 §4.3
		x.Add(field("muc#roominfo_avatarhash", "text-multi", "Avatar", r.set.Avatar))
	}
	if hash := r.rack.hash(); hash != "" { // XEP-0317 §3
		x.Add(field("hats#hash", "text-single", "Hats", hash))
	}
	for _, name := range slices.Sorted(maps.Keys(r.info)) {
		x.Add(field(name, "text-single", "", r.info[name]))
	}
	if !r.meeting {
		return x
	}
	x.Add(field("muc#roominfo_meetingId", "text-single", "Meeting", r.meetingID),
		field("muc#roominfo_messageModerationEnabled", "boolean", "Messages can be moderated and edited", "1"))
	people := 0
	for _, o := range r.order {
		if !r.svc.admins[o.bare()] {
			people++
		}
	}
	if people > 1 || r.begun {
		r.begun = true
		x.Add(field("muc#roominfo_created_timestamp", "text-single", "Begun", strconv.FormatInt(r.created.UnixMilli(), 10)))
	}
	return x
}

// discoItems lists the occupants, to occupants, and to everybody where everybody may come (§6.5).
func (r *room) discoItems(st *stanza.Stanza) {
	if st.Child(nsDiscoItem, "query").Attr("node") == nsCommands {
		r.answer(st.Result(r.commandItems(st.From)))
		return
	}
	q := stanza.NewElement(nsDiscoItem, "query")
	open := r.set.Public && !r.set.MembersOnly && r.set.Secret == "" && !r.meeting && r.affiliation(st.From.Bare()) != outcast
	if r.sessions[st.From] != nil || open {
		for _, o := range r.order {
			q.Add(stanza.NewElement(nsDiscoItem, "item", "jid", o.addr.String()))
		}
	}
	r.answer(st.Result(q))
}
