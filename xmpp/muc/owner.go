package muc

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"konzil/xmpp/stanza"
)

// archiveField turns the archive of a room on and off (XEP-0313 has no name for it).
const archiveField = "muc#roomconfig_enablearchiving"

// ownerIQ is configuration and destruction (XEP-0045 §10). The room is locked, as for all of this file.
func (r *room) ownerIQ(st *stanza.Stanza) {
	q := st.Child(nsOwner, "query")
	switch {
	case r.affiliation(st.From.Bare()) < owner:
		r.fail(st, stanza.ErrForbidden.With("Only owners may do that"))
	case st.Type == "get":
		r.answer(st.Result(stanza.NewElement(nsOwner, "query").Add(r.configForm(r.svc.admins[st.From.Bare()]))))
	case q.Child(nsOwner, "destroy") != nil:
		r.destroyBy(st, q.Child(nsOwner, "destroy"))
	case q.Child(nsData, "x").Attr("type") == "cancel":
		r.cancel(st)
	default:
		r.configure(st, q.Child(nsData, "x"))
	}
}

// configForm shows the settings. The service's own admins (the focus) also see what identifies the meeting.
func (r *room) configForm(trusted bool) *stanza.Element {
	whois := "anyone"
	if r.set.Anonymous {
		whois = "moderators"
	}
	x := stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.TextElement(nsData, "title", "Configuration of "+r.jid.String()),
		field("FORM_TYPE", "hidden", "", nsConfig),
		field("muc#roomconfig_roomname", "text-single", "Name", r.set.Title),
		field("muc#roomconfig_roomdesc", "text-single", "Description", r.set.Description),
	)
	if r.svc.store != nil && !r.meeting {
		x.Add(field("muc#roomconfig_persistentroom", "boolean", "Keep the room when the last one leaves", boolean(r.set.Persistent)))
	}
	if r.svc.archive != nil && !r.meeting {
		x.Add(field(archiveField, "boolean", "Keep what is said, if the room is kept", boolean(!r.set.NoArchive)))
	}
	x.Add(
		field("muc#roomconfig_enablelogging", "boolean", "Tell people that what is said here is public elsewhere", boolean(r.set.Logged)),
		field("muc#roomconfig_publicroom", "boolean", "Show the room in lists", boolean(r.set.Public)),
		field("muc#roomconfig_moderatedroom", "boolean", "Newcomers may only listen", boolean(r.set.Moderated)),
		field("muc#roomconfig_membersonly", "boolean", "Only members may enter", boolean(r.set.MembersOnly)),
		field("muc#roomconfig_passwordprotectedroom", "boolean", "A password is needed to enter", boolean(r.set.Secret != "")),
		field("muc#roomconfig_roomsecret", "text-private", "Password", r.set.Secret),
		choice("muc#roomconfig_whois", "Who sees real addresses", whois, "Moderators", "moderators", "Anyone", "anyone"),
		field("muc#roomconfig_changesubject", "boolean", "Everybody may change the subject", boolean(r.set.ChangeSubject)),
		field("muc#roomconfig_allowinvites", "boolean", "Everybody may invite", boolean(r.set.AllowInvites)),
		field("muc#roomconfig_forwardmentions", "boolean", "Members who are not here get messages that mention them", boolean(r.set.ForwardMentions)),
		choice("muc#roomconfig_allowpm", "Who may write to single occupants", cmp.Or(r.set.AllowPM, "anyone"),
			"Anyone", "anyone", "Participants", "participants", "Moderators", "moderators", "Nobody", "none"),
		r.shownRoles(),
		field("muc#roomconfig_lang", "text-single", "Language", r.set.Lang),
		r.maxUsersField(),
	)
	if !r.meeting {
		x.Add(field("muc#roomconfig_roomadmins", "jid-multi", "Admins", names(r.listed(admin))...),
			field("muc#roomconfig_roomowners", "jid-multi", "Owners", names(r.listed(owner))...))
	}
	if trusted {
		x.Add(field("muc#roominfo_meetingId", "text-single", "Meeting", r.meetingID))
		for _, name := range slices.Sorted(maps.Keys(r.info)) {
			x.Add(field(name, "text-single", "", r.info[name]))
		}
	}
	return x
}

func (r *room) maxUsersField() *stanza.Element {
	value := "none"
	if r.set.MaxUsers > 0 {
		value = strconv.Itoa(r.set.MaxUsers)
	}
	options := []string{"No limit but the server's", "none"}
	for _, n := range []int{10, 20, 50, 100, 200, 500, 1000} {
		if n < r.svc.cfg.MaxOccupants && n != r.set.MaxUsers {
			options = append(options, strconv.Itoa(n), strconv.Itoa(n))
		}
	}
	if r.set.MaxUsers > 0 {
		options = append(options, value, value)
	}
	return choice("muc#roomconfig_maxusers", "Most occupants", value, options...)
}

func (r *room) shownRoles() *stanza.Element {
	el := field("muc#roomconfig_presencebroadcast", "list-multi", "Roles that are seen by others")
	for ro := moderator; ro >= visitor; ro-- {
		if r.shows(ro) {
			el.Add(stanza.TextElement(nsData, "value", ro.String()))
		}
	}
	for ro := moderator; ro >= visitor; ro-- {
		el.Add(stanza.NewElement(nsData, "option", "label", ro.String()).Add(stanza.TextElement(nsData, "value", ro.String())))
	}
	return el
}

func names(jids []stanza.JID) []string {
	out := make([]string, len(jids))
	for i, j := range jids {
		out[i] = j.String()
	}
	return out
}

// parseChoices reads fields that have a few values.
func parseChoices(f form, s *settings) *stanza.Error {
	if f.has("muc#roomconfig_allowpm") {
		switch v := f.value("muc#roomconfig_allowpm"); v {
		case "anyone":
			s.AllowPM = ""
		case "participants", "moderators", "none":
			s.AllowPM = v
		default:
			return stanza.ErrNotAcceptable.With("muc#roomconfig_allowpm is anyone, participants, moderators or none")
		}
	}
	if f.has("muc#roomconfig_presencebroadcast") {
		s.Hidden = 1<<visitor | 1<<participant | 1<<moderator
		for _, v := range f["muc#roomconfig_presencebroadcast"] {
			ro, ok := parseRole(v)
			if !ok || ro == roleNone {
				return stanza.ErrNotAcceptable.With("muc#roomconfig_presencebroadcast has moderator, participant and visitor")
			}
			s.Hidden &^= 1 << ro
		}
	}
	if f.has("muc#roomconfig_whois") {
		switch f.value("muc#roomconfig_whois") {
		case "anyone":
			s.Anonymous = false
		case "moderators":
			s.Anonymous = true
		default:
			return stanza.ErrNotAcceptable.With("muc#roomconfig_whois is moderators or anyone")
		}
	}
	return nil
}

// parseLists gives the changes by which the lists of admins and owners become those of f. The room is locked.
func (r *room) parseLists(f form) ([]edit, *stanza.Error) {
	var edits []edit
	wanted := map[stanza.JID]affiliation{}
	asked := map[affiliation]bool{}
	for _, l := range []struct {
		name string
		aff  affiliation
	}{{"muc#roomconfig_roomadmins", admin}, {"muc#roomconfig_roomowners", owner}} { // who is in both is owner
		if r.meeting || !f.has(l.name) {
			continue
		}
		asked[l.aff] = true
		for _, v := range f[l.name] {
			j, err := stanza.ParseJID(v)
			if err != nil || j.Local() == "" {
				return nil, stanza.ErrJIDMalformed
			}
			wanted[j.Bare()] = l.aff
		}
	}
	for j, e := range r.aff {
		if asked[e.aff] && wanted[j] == none {
			edits = append(edits, edit{bare: j, entry: affEntry{aff: none}})
		}
	}
	for j, aff := range wanted {
		if e := r.aff[j]; e.aff != aff && (aff == owner || e.aff != owner || asked[owner]) {
			edits = append(edits, edit{bare: j, entry: affEntry{aff: aff, nick: e.nick}})
		}
	}
	if len(edits) > maxAdminItems || len(r.aff)+len(wanted) > r.svc.cfg.MaxAffiliations {
		return nil, stanza.ErrResourceConstraint.With("The lists are too long")
	}
	return edits, r.checkOwners(edits)
}

// parseSettings gives old with what f sets. Fields that f does not mention keep their value, unknown ones are passed over.
func parseSettings(f form, old settings, limits Config) (settings, *stanza.Error) {
	s := old
	for name, to := range map[string]*bool{
		"muc#roomconfig_persistentroom": &s.Persistent, "muc#roomconfig_publicroom": &s.Public, "muc#roomconfig_enablelogging": &s.Logged,
		"muc#roomconfig_moderatedroom": &s.Moderated, "muc#roomconfig_membersonly": &s.MembersOnly,
		"muc#roomconfig_changesubject": &s.ChangeSubject, "muc#roomconfig_allowinvites": &s.AllowInvites, "muc#roomconfig_forwardmentions": &s.ForwardMentions,
	} {
		if f.has(name) {
			*to = f.flag(name)
		}
	}
	for _, name := range []string{archiveField, "muc#roomconfig_mam", "mam"} { // as clients know it from Prosody, Tigase and ejabberd
		if f.has(name) {
			s.NoArchive = !f.flag(name)
		}
	}
	for name, to := range map[string]*string{
		"muc#roomconfig_roomname": &s.Title, "muc#roomconfig_roomdesc": &s.Description, "muc#roomconfig_roomsecret": &s.Secret,
		"muc#roomconfig_lang": &s.Lang,
	} {
		if f.has(name) {
			*to = f.value(name)
		}
		if len(*to) > limits.MaxSubject {
			return old, stanza.ErrNotAcceptable.With(name + " is too long")
		}
	}
	if f.has("muc#roomconfig_passwordprotectedroom") {
		switch on := f.flag("muc#roomconfig_passwordprotectedroom"); {
		case !on:
			s.Secret = ""
		case s.Secret == "": // §10.1.3
			return old, stanza.ErrNotAcceptable.With("A password is missing")
		}
	}
	if err := parseChoices(f, &s); err != nil {
		return old, err
	}
	if v := f.value("muc#roomconfig_maxusers"); v == "none" {
		s.MaxUsers = 0
	} else if v != "" {
		n, ok := number(v)
		if !ok || n == 0 || n > limits.MaxOccupants {
			return old, stanza.ErrNotAcceptable.With("muc#roomconfig_maxusers is 1 to " + strconv.Itoa(limits.MaxOccupants))
		}
		s.MaxUsers = n
	}
	return s, nil
}

func (r *room) configure(st *stanza.Stanza, x *stanza.Element) {
	f, perr := parseForm(x)
	if perr != nil || f.formType() != "" && f.formType() != nsConfig {
		r.fail(st, stanza.ErrBadRequest.With("That is no submitted room configuration"))
		return
	}
	set, err := parseSettings(f, r.set, r.svc.cfg)
	if err != nil {
		r.fail(st, err)
		return
	}
	edits, err := r.parseLists(f)
	if err != nil {
		r.fail(st, err)
		return
	}
	if r.svc.store == nil || r.meeting {
		set.Persistent = false
	}
	old, wasLogged := r.set, r.logged()
	if set.NoArchive || !set.Persistent {
		r.loadPast() // while it is there
	}
	r.set, r.locked = set, false
	r.noteAll()
	result := st.Result()
	_, shifts := r.applyAffiliations(edits, "")
	switch {
	case r.set.Persistent:
		rec := r.record(!old.Persistent || len(edits) > 0)
		card := r.vcard
		r.vcard = nil
		r.stored(st, func(ctx context.Context, s Store) error {
			if card == nil {
				return s.SaveRoom(ctx, rec)
			}
			return errors.Join(s.SaveRoom(ctx, rec), s.SetVCard(ctx, rec.Room, card))
		}, func() { r.svc.reply(result) })
	case old.Persistent:
		r.set.Avatar = "" // it goes with the record
		r.write(st, r.wipe, func() { r.svc.reply(result) })
	default:
		r.answer(result)
	}
	if old != set {
		r.tellConfig(old, wasLogged)
		r.configured(st.From)
	}
	r.tellAbsent(shifts)
	r.enforce(old)
	r.dieIfEmpty()
}

// tellConfig announces that the configuration changed (§10.2.1): clients ask again when they see 104.
func (r *room) tellConfig(old settings, wasLogged bool) {
	codes := []int{104}
	switch now := r.logged(); {
	case now && !wasLogged:
		codes = append(codes, 170)
	case !now && wasLogged:
		codes = append(codes, 171)
	}
	if old.Anonymous != r.set.Anonymous {
		if r.set.Anonymous {
			codes = append(codes, 173)
		} else {
			codes = append(codes, 172)
		}
		for _, o := range r.order {
			o.shown = [2]*stanza.Stanza{}
		}
	}
	x := stanza.NewElement(nsUser, "x")
	for _, c := range codes {
		x.Add(stanza.NewElement(nsUser, "status", "code", strconv.Itoa(c)))
	}
	r.send(stanza.NewMessage("groupchat", r.jid, stanza.JID{}, x).WithID(newID()), r.recipients...)
}

// enforce makes occupants follow a changed configuration.
func (r *room) enforce(old settings) {
	for _, o := range append([]*occupant(nil), r.order...) {
		switch aff := r.affiliation(o.bare()); {
		case r.set.MembersOnly && !old.MembersOnly && aff == none:
			r.remove(o, 322, "", "") // §10.2.1
		case !r.set.Moderated && old.Moderated && o.role == visitor:
			r.setRole(o, participant, "", "")
		case old.Hidden != r.set.Hidden && r.shows(o.role) != o.told:
			r.announce(o, o.jids(), r.presenceOf(o))
		case old.Anonymous && !r.set.Anonymous:
			r.announce(o, o.jids(), r.presenceOf(o)) // now with addresses
		}
	}
}

// cancel keeps the settings; a room that was never configured is given up (§10.1.3).
func (r *room) cancel(st *stanza.Stanza) {
	if r.locked {
		r.destroy(nil)
	}
	r.answer(st.Result())
}

func (r *room) destroyBy(st *stanza.Stanza, d *stanza.Element) {
	el := stanza.NewElement(nsUser, "destroy")
	if alt := d.Attr("jid"); alt != "" {
		j, err := stanza.ParseJID(alt)
		if err != nil {
			r.fail(st, stanza.ErrJIDMalformed)
			return
		}
		el.SetAttr("jid", j.String())
	}
	if p := d.Child(nsOwner, "password"); p != nil {
		el.Add(stanza.TextElement(nsUser, "password", p.Text()))
	}
	if reason := d.Child(nsOwner, "reason").Text(); reason != "" {
		el.Add(stanza.TextElement(nsUser, "reason", reason))
	}
	result := st.Result()
	r.farewell(el)
	r.stored(st, r.wipe, func() { r.svc.reply(result) })
	r.die()
}

// destroy sends everybody out and ends the room (§10.9). el is the <destroy/>, nil for one without words.
func (r *room) destroy(el *stanza.Element) {
	if el == nil {
		el = stanza.NewElement(nsUser, "destroy")
	}
	r.farewell(el)
	r.die()
}

// farewell sends everybody out.
func (r *room) farewell(el *stanza.Element) {
	everybody := r.order
	r.order, r.recipients = nil, nil // nobody is told of anybody but itself
	for _, o := range everybody {
		p := pres{typ: "unavailable", addr: o.addr, real: o.real(), aff: none, role: roleNone, extra: el}
		r.send(p.build(true, true), o.jids()...)
		for _, s := range o.sessions {
			r.gone(o.nick, s.jid)
		}
	}
	r.svc.count.occupants.Add(-int64(len(r.sessions)))
	clear(r.nicks)
	clear(r.sessions)
}

// wipe takes the room off the disk, with its archive: whoever makes one of the same name later shall not read it. The room is not locked.
func (r *room) wipe(ctx context.Context, s Store) error {
	if r.svc.archive != nil {
		if err := r.svc.archive.Forget(ctx, r.jid); err != nil {
			return err
		}
	}
	return s.DeleteRoom(ctx, r.jid.String())
}
