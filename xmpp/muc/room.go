package muc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Invariants:
//   - A session is in sessions exactly while it is in one occupant's list; an occupant has at least one session.
//   - A dead room has no occupants, is not in Service.rooms, and answers nothing.
//   - recipients are the JIDs of sessions in join order; the slice is made anew by each change, never written to: queue entries share it.
type room struct {
	svc       *Service
	jid       stanza.JID // bare
	meeting   bool       // created by an admin
	key       []byte     // of occupant ids
	created   time.Time
	meetingID string // one for each life of a room (jitsi-meet's meetingId)

	stalled atomic.Bool // the queue stopped at an entry that waits for the disk: wake goes on

	mu         sync.Mutex // guards all below
	dead       bool
	locked     bool       // not yet configured by who created it (XEP-0045 §10.1.1)
	founder    stanza.JID // full JID of who made the room, until it has entered
	set        settings
	aff        map[stanza.JID]affEntry
	reserved   map[string]stanza.JID // registered nicks of aff
	nicks      map[string]*occupant
	order      []*occupant // as they joined
	sessions   map[stanza.JID]*occupant
	recipients []stanza.JID
	subject    subject
	past       []histEntry
	pastBytes  int
	pastLoaded bool
	pending    map[pendingKey]string // vcard requests under way: nick of who was asked
	queue      []out
	flushing   bool                  // a goroutine is emptying queue
	begun      bool                  // there has been more than one person
	graves     []func()              // tombstones that are being put, in order (moderate.go)
	rack       hatRack               // hats.go
	seen       map[stanza.JID]string // seen.go: stanza ids by bare address
	vcard      []byte                // XML, of a temporary room
	info       map[string]string     // further fields of disco#info by their names (control.go)
	held       bool                  // stays when the last one leaves, until it is let go
	ch         *ledger.Channel       // restart.go; nil: nothing is remembered
}

type subject struct {
	text string
	by   stanza.JID // occupant
	at   time.Time
}

func newRoom(s *Service, jid stanza.JID, meeting bool) *room {
	r := &room{
		svc: s, jid: jid, meeting: meeting, key: make([]byte, 32), created: s.now(), meetingID: uuid.NewString(),
		aff: map[stanza.JID]affEntry{}, reserved: map[string]stanza.JID{}, nicks: map[string]*occupant{}, sessions: map[stanza.JID]*occupant{},
		pending: map[pendingKey]string{}, pastLoaded: true,
		set: settings{Public: true, AllowInvites: true},
	}
	_, _ = rand.Read(r.key) // never fails (crypto/rand)
	if meeting {
		r.set.Public = !s.cfg.HideRooms
	}
	return r
}

// keptConfig is what RoomRecord.Config holds.
type keptConfig struct {
	settings
	hatRack
}

// restore makes a room of its record.
func (s *Service) restore(rec RoomRecord) (*room, error) {
	jid, err := stanza.ParseJID(rec.Room)
	if err != nil {
		return nil, err
	}
	r := newRoom(s, jid, false)
	r.key, r.created, r.pastLoaded = rec.Key, rec.Created, false
	var kept keptConfig
	if err := json.Unmarshal(rec.Config, &kept); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	r.set, r.rack = kept.settings, kept.hatRack
	r.subject = subject{text: rec.Subject, at: rec.SubjectAt}
	if rec.SubjectBy != "" {
		if r.subject.by, err = stanza.ParseJID(rec.SubjectBy); err != nil {
			return nil, fmt.Errorf("subject: %w", err)
		}
	}
	for _, a := range rec.Affiliations {
		j, err := stanza.ParseJID(a.JID)
		if err != nil {
			return nil, fmt.Errorf("affiliation: %w", err)
		}
		level, ok := parseAffiliation(a.Affiliation)
		if !ok {
			return nil, fmt.Errorf("affiliation %q is unknown", a.Affiliation)
		}
		r.setAffiliation(j, affEntry{aff: level, nick: a.Nick, reason: a.Reason})
	}
	return r, nil
}

// record is the room for the store, with or without its affiliations. The room is locked.
func (r *room) record(lists bool) RoomRecord {
	conf, err := json.Marshal(keptConfig{r.set, r.rack})
	if err != nil {
		panic("muc: settings do not marshal: " + err.Error()) // strings, booleans and numbers: they do
	}
	rec := RoomRecord{
		Room: r.jid.String(), Config: conf, Key: r.key, Created: r.created,
		Subject: r.subject.text, SubjectBy: r.subject.by.String(), SubjectAt: r.subject.at,
	}
	if !lists {
		return rec
	}
	rec.Affiliations = []AffiliationRecord{}
	for j, a := range r.aff {
		rec.Affiliations = append(rec.Affiliations, AffiliationRecord{j.String(), a.aff.String(), a.nick, a.reason})
	}
	return rec
}

// handle does what st asks, and says what follows of it. False: the room is dead, look for another.
func (r *room) handle(st *stanza.Stanza) bool {
	r.mu.Lock()
	defer r.flush()
	if r.dead {
		return false
	}
	switch st.Kind {
	case stanza.Presence:
		r.handlePresence(st)
	case stanza.Message:
		n := len(r.queue)
		r.handleMessage(st)
		r.hold(st, n)
	case stanza.IQ:
		r.handleIQ(st)
	}
	return true
}

// affiliation of a bare JID. The room is locked.
func (r *room) affiliation(bare stanza.JID) affiliation {
	if r.svc.admins[bare] {
		return owner
	}
	if e, ok := r.aff[bare]; ok {
		return e.aff
	}
	if e, ok := r.aff[domainOf(bare)]; ok && e.aff == outcast { // XEP-0045 §9.1: a whole domain may be banned
		return outcast
	}
	return none
}

func domainOf(j stanza.JID) stanza.JID {
	d, err := stanza.NewJID("", j.Domain(), "")
	if err != nil {
		return stanza.JID{}
	}
	return d
}

// setAffiliation changes the list, not the occupants. The room is locked.
func (r *room) setAffiliation(bare stanza.JID, e affEntry) {
	if old := r.aff[bare].nick; old != "" && r.reserved[old] == bare {
		delete(r.reserved, old)
	}
	if e.aff == none {
		delete(r.aff, bare)
		return
	}
	r.aff[bare] = e
	if e.nick != "" && e.aff > none && !r.meeting {
		r.reserved[e.nick] = bare
	}
}

// defaultRole of a newcomer or of one whose affiliation changed (XEP-0045 §5.1.2). The room is locked.
func (r *room) defaultRole(a affiliation) role {
	switch {
	case a >= admin:
		return moderator
	case a == member:
		return participant
	case a == outcast:
		return roleNone
	case r.set.Moderated:
		return visitor
	default:
		return participant
	}
}

// admit adds a session under nick. The room is locked.
func (r *room) admit(jid stanza.JID, addr stanza.JID, nick string, ro role) (*occupant, *session) {
	o := r.nicks[nick]
	if o == nil {
		o = &occupant{nick: nick, addr: addr, role: ro, joined: r.svc.now(), id: r.occupantID(jid.Bare()), hats: r.hats(jid.Bare())}
		r.nicks[nick] = o
		r.order = append(r.order, o)
	}
	s := &session{jid: jid, limit: rate.NewLimiter(rate.Limit(r.svc.cfg.Rate), r.svc.cfg.Burst)}
	o.sessions = append(o.sessions, s)
	r.sessions[jid] = o
	r.recount()
	r.svc.count.occupants.Add(1)
	return o, s
}

// expel takes a session out, and its occupant with the last one. The room is locked.
func (r *room) expel(o *occupant, jid stanza.JID) {
	for i, s := range o.sessions {
		if s.jid == jid {
			// A new slice: entries of the queue may hold jids of the old, and o.primary of callers must not move.
			o.sessions = append(append([]*session(nil), o.sessions[:i]...), o.sessions[i+1:]...)
			break
		}
	}
	delete(r.sessions, jid)
	r.note(jid)
	r.svc.count.occupants.Add(-1)
	if len(o.sessions) == 0 {
		delete(r.nicks, o.nick)
		for i, x := range r.order {
			if x == o {
				r.order = append(r.order[:i:i], r.order[i+1:]...)
				break
			}
		}
	}
	r.recount()
}

func (r *room) recount() {
	r.recipients = make([]stanza.JID, 0, len(r.sessions))
	for _, o := range r.order {
		for _, s := range o.sessions {
			r.recipients = append(r.recipients, s.jid)
		}
	}
}

// sessionOf is the session with that full JID. The room is locked.
func (o *occupant) sessionOf(jid stanza.JID) *session {
	for _, s := range o.sessions {
		if s.jid == jid {
			return s
		}
	}
	return nil
}

// occupantID is stable for a person in a room and tells nobody who it is (XEP-0421 §3).
func (r *room) occupantID(bare stanza.JID) string {
	m := hmac.New(sha256.New, r.key)
	m.Write([]byte(bare.String()))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:18])
}

// die ends the room once nobody is inside. The room is locked.
func (r *room) die() {
	r.dead = true
	r.noteAll()
	r.svc.forget(r)
	r.observe(func(o Observer) { o.Destroyed(r.jid) })
}

// dieIfEmpty ends a room that nobody needs any more. The room is locked.
func (r *room) dieIfEmpty() {
	if len(r.order) == 0 && !r.set.Persistent && !r.held && !r.dead {
		r.die()
	}
}

func (r *room) observe(f func(Observer)) {
	for _, o := range r.svc.observers {
		r.later(func() { f(o) })
	}
}

// shutdown sends everybody away with status 332, unless they will be inside again after the restart, and leaves the room dead, without Observer calls:
// all rooms go.
func (r *room) shutdown() {
	r.mu.Lock()
	defer r.flush()
	for _, o := range r.order {
		if r.ch != nil {
			break
		}
		el := userX(item(none, roleNone, stanza.JID{}), 110, 332)
		r.send(stanza.NewPresence("unavailable", o.addr, stanza.JID{}, el), o.jids()...)
	}
	r.svc.count.occupants.Add(-int64(len(r.sessions)))
	r.dead, r.order, r.recipients = true, nil, nil
	clear(r.nicks)
	clear(r.sessions)
}

// item is the <item/> of a muc#user extension; a zero jid is left out.
func item(a affiliation, ro role, jid stanza.JID) *stanza.Element {
	return stanza.NewElement(nsUser, "item", "affiliation", a.String(), "role", ro.String(), "jid", jid.String())
}

// userX is the muc#user extension with an item and status codes.
func userX(it *stanza.Element, codes ...int) *stanza.Element {
	x := stanza.NewElement(nsUser, "x").Add(it)
	for _, c := range codes {
		x.Add(stanza.NewElement(nsUser, "status", "code", strconv.Itoa(c)))
	}
	return x
}

// size is how many are in the room; nobody in one that is still to be made.
func (r *room) size() int {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order)
}
