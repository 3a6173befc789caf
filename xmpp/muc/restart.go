package muc

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Occupants of persistent rooms survive a restart of the program, because sessions do and other servers are not told of it: Config.Ledger has for each
// room a channel with a value for each session inside, its role and last presence.

// roomName begins the name of a room's channel; its address follows.
const roomName = "room "

// remembered tells whether the ledger has a channel for the room, and makes it. The room is locked, as for all of this file but Restore and Redeliver.
func (r *room) remembered() bool {
	if r.svc.cfg.Ledger == nil || r.svc.store == nil || r.meeting || !r.set.Persistent {
		return false
	}
	if r.ch == nil {
		r.ch = r.svc.cfg.Ledger.New(roomName + r.jid.String())
	}
	return true
}

// note remembers a session inside, or that it is not inside any more.
func (r *room) note(jid stanza.JID) {
	if !r.remembered() {
		return
	}
	o := r.sessions[jid]
	if o == nil {
		r.ch.Set(jid.String(), nil)
		return
	}
	s := o.sessionOf(jid)
	p := stanza.NewPresence("", jid, o.addr, s.presence...)
	p.Lang = s.lang
	r.ch.Set(jid.String(), p.AppendXML(append(strconv.AppendInt(nil, int64(o.role), 10), ' '), stanza.NSClient, true))
}

// noteOccupant is note for all sessions of an occupant.
func (r *room) noteOccupant(o *occupant) {
	for _, j := range o.jids() {
		r.note(j)
	}
}

// noteAll remembers everybody, or forgets the room where it is not persistent any more.
func (r *room) noteAll() {
	if !r.set.Persistent || r.dead {
		r.ch.Drop()
		r.ch = nil
		return
	}
	for _, j := range r.recipients {
		r.note(j)
	}
	for bare := range r.seen {
		r.noteSeen(bare)
	}
}

// Restore brings back the occupants that the ledger knows; there tells whether the session of a local address was restored. Who was not leaves. It comes
// before anything is served.
func (s *Service) Restore(there func(stanza.JID) bool) {
	for _, k := range s.cfg.Ledger.Kept() {
		name, ok := strings.CutPrefix(k.Name, roomName)
		if !ok {
			continue
		}
		jid, err := stanza.ParseJID(name)
		if err != nil {
			continue
		}
		if r := s.room(jid); r != nil && r.set.Persistent {
			r.restoreOccupants(&k, there)
		} else {
			k.Drop()
		}
	}
}

func (r *room) restoreOccupants(k *ledger.Kept, there func(stanza.JID) bool) {
	r.mu.Lock()
	defer r.flush()
	r.ch = k.Channel
	var gone []stanza.JID
	for _, key := range slices.Sorted(maps.Keys(k.Values)) {
		if r.restoreSeen(key, k.Values[key]) {
			continue
		}
		number, xml, _ := strings.Cut(string(k.Values[key]), " ")
		n, err := strconv.Atoi(number)
		st, perr := stanza.Parse([]byte(xml))
		if err != nil || perr != nil || n <= int(roleNone) || n > int(moderator) || st.To.Bare() != r.jid || r.sessions[st.From] != nil {
			r.ch.Set(key, nil)
			continue
		}
		o, s := r.admit(st.From, st.To, st.To.Resource(), role(n))
		s.presence, s.lang = st.Payload(), st.Lang
		o.told = r.shows(o.role)
		if r.svc.local[st.From.Domain()] && !there(st.From) {
			gone = append(gone, st.From)
		}
	}
	for _, j := range gone {
		o := r.sessions[j]
		p := r.presenceOf(o)
		p.typ, p.children, p.role, p.real = "unavailable", nil, roleNone, j
		r.depart(o, j, p)
	}
}

// Redeliver says a message of the archive to all inside, or hands a private one on: the program was killed in between, and who has got it does not get it again.
func (s *Service) Redeliver(st *stanza.Stanza, roomJID stanza.JID) {
	r := s.room(roomJID)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.flush()
	if st.Type != "groupchat" {
		if from, to := r.sessions[st.From], r.nicks[st.To.Resource()]; from != nil && to != nil {
			r.pass(from, to, st)
		}
		return
	}
	var keep []*stanza.Element
	for _, e := range st.Payload() {
		if e.Space != nsUser { // the archive's note of who wrote it
			keep = append(keep, e)
		}
	}
	r.send(st.WithPayload(keep...), r.recipients...)
}
