package signaling

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"konzil/internal/random"
	"konzil/xmpp/stanza"
)

// Sessions let a guest be who logged in on a second connection: the login gets a session id, the guest presents it.
const (
	sessionLifetime = 24 * time.Hour
	maxSessions     = 100000 // the oldest go first; one is about 300 bytes
	maxSessionJIDs  = 16     // addresses that one session id made authenticated
)

type authSession struct {
	id, machineUID, identity string
	expires                  time.Time
	jids                     []stanza.JID // bare addresses that presented the id
}

// sessions is the table of logins.
type sessions struct {
	mu    sync.Mutex // guards all below
	byID  map[string]*authSession
	byJID map[stanza.JID]*authSession // the last one that a bare address used
	order []string                    // ids, oldest first; some are gone
}

func newSessions() *sessions {
	return &sessions{byID: map[string]*authSession{}, byJID: map[stanza.JID]*authSession{}}
}

// drop forgets a session and who used it.
func (s *sessions) drop(id string) {
	x := s.byID[id]
	if x == nil {
		return
	}
	delete(s.byID, id)
	for _, j := range x.jids {
		if s.byJID[j] == x {
			delete(s.byJID, j)
		}
	}
}

func (s *sessions) create(identity, machineUID string, from stanza.JID, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.order) > 0 { // the order is also by expiry
		x := s.byID[s.order[0]]
		if x != nil && now.Before(x.expires) && len(s.byID) < maxSessions {
			break
		}
		s.drop(s.order[0])
		s.order = s.order[1:]
	}
	id := random.Hex(16)
	x := &authSession{id: id, machineUID: machineUID, identity: identity, expires: now.Add(sessionLifetime), jids: []stanza.JID{from}}
	s.byID[id], s.byJID[from] = x, x
	s.order = append(s.order, id)
	return id
}

// present checks an id and remembers who showed it.
func (s *sessions) present(id, machineUID string, from stanza.JID, now time.Time) (identity string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	if x == nil || x.machineUID != machineUID || !now.Before(x.expires) {
		return "", false
	}
	if !from.IsZero() && !slices.Contains(x.jids, from) {
		x.jids = append(x.jids, from)
		if len(x.jids) > maxSessionJIDs {
			if s.byJID[x.jids[0]] == x {
				delete(s.byJID, x.jids[0])
			}
			x.jids = x.jids[1:]
		}
	}
	if !from.IsZero() {
		s.byJID[from] = x
	}
	return x.identity, true
}

// forget ends a session; from must have used it.
func (s *sessions) forget(id string, from stanza.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byID[id]; x != nil && slices.Contains(x.jids, from) {
		s.drop(id)
	}
}

// knows tells whether a bare address has shown a valid id.
func (s *sessions) knows(bare stanza.JID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byJID[bare]
	return x != nil && now.Before(x.expires)
}

// authenticate fills in a's session and tells whether req is of somebody who logged in. Without AuthRequired there are no sessions.
func (f *Focus) authenticate(req *request, a *answer) (bool, *stanza.Error) {
	if !f.cfg.AuthRequired {
		return false, nil
	}
	now := time.Now()
	if req.sessionID != "" {
		identity, ok := f.auth.present(req.sessionID, req.machineUID, req.from.Bare(), now)
		if !ok {
			return false, stanza.ErrNotAcceptable.With("", stanza.NewElement(nsFocus, "session-invalid"))
		}
		a.sessionID, a.identity = req.sessionID, identity
		return true, nil
	}
	if req.verified {
		return true, nil
	}
	if req.from.IsZero() || !f.cfg.authenticated(req.from) {
		return false, nil
	}
	if req.machineUID != "" {
		a.identity = req.from.Bare().String()
		a.sessionID = f.auth.create(a.identity, req.machineUID, req.from.Bare(), now)
	}
	return true, nil
}

// ownsMeetings tells of a member by the real address whether it has logged in, and is owner for that.
func (f *Focus) ownsMeetings(real stanza.JID) bool {
	if f.cfg.authenticated(real) {
		return f.cfg.Owner == nil || f.cfg.Owner(real)
	}
	return f.auth.knows(real.Bare(), time.Now())
}

func (f *Focus) handleLoginURL(st *stanza.Stanza) {
	el := st.Child(nsFocus, "login-url")
	room, err := stanza.ParseJID(el.Attr("room"))
	if err != nil || room.Local() == "" {
		f.refuse(st, stanza.ErrBadRequest.With("room is no address"))
		return
	}
	url := "./" + room.Local() + "?login=true"
	if f.cfg.LoginURL != nil {
		url = cmp.Or(f.cfg.LoginURL(room), url)
	}
	f.router.Route(st.Result(stanza.NewElement(nsFocus, "login-url", "room", room.String(), "url", url)))
}

func (f *Focus) handleLogout(st *stanza.Stanza) {
	f.auth.forget(st.Child(nsFocus, "logout").Attr("session-id"), st.From.Bare())
	f.router.Route(st.Result(stanza.NewElement(nsFocus, "logout")))
}
