package speakerstats

import "time"

// Limits of one meeting.
const (
	maxUsers      = 5000 // people ever there; later ones are not counted
	maxFaces      = 200  // of one person, about 60 bytes each; the oldest go
	maxExpression = 32   // bytes
)

// user is one participant, as clients read it.
type user struct {
	Name  string `json:"displayName,omitempty"`
	Total int64  `json:"totalDominantSpeakerTime"` // ms
	Faces []face `json:"faceLandmarks,omitempty"`

	since time.Time // dominant since, zero if not
	gone  bool
}

// face is an expression of a face for a while, as the client tells it.
type face struct {
	Expression string `json:"faceExpression"`
	Timestamp  int64  `json:"timestamp"` // ms since 1970
	Duration   int64  `json:"duration"`  // ms
}

// meeting counts for the participants of one, by nick.
type meeting struct {
	users    map[string]*user
	dominant string // nick, "" for nobody
}

func newMeeting() *meeting { return &meeting{users: map[string]*user{}} }

func (m *meeting) enter(nick string) {
	switch u := m.users[nick]; {
	case u != nil:
		u.gone = false
	case len(m.users) < maxUsers:
		m.users[nick] = &user{}
	}
}

func (m *meeting) name(nick, name string) {
	if u := m.users[nick]; u != nil && name != "" {
		u.Name = name
	}
}

// speak makes nick the dominant speaker; with silent it is so no more.
func (m *meeting) speak(nick string, silent bool, now time.Time) {
	u := m.users[nick]
	if u == nil {
		return
	}
	if old := m.users[m.dominant]; old != nil {
		old.stop(now)
	}
	if m.dominant = ""; !silent {
		m.dominant, u.since = nick, now
	}
}

// silence is for who leaves.
func (m *meeting) silence(nick string, now time.Time) {
	if u := m.users[nick]; u != nil {
		u.stop(now)
		u.gone = true
	}
	if m.dominant == nick {
		m.dominant = ""
	}
}

func (u *user) stop(now time.Time) {
	if !u.since.IsZero() {
		u.Total += max(0, now.Sub(u.since).Milliseconds())
		u.since = time.Time{}
	}
}

func (m *meeting) face(nick string, f face) {
	u := m.users[nick]
	if u == nil {
		return
	}
	if len(u.Faces) >= maxFaces {
		u.Faces = append([]face(nil), u.Faces[1:]...)
	}
	u.Faces = append(u.Faces, f)
}

// report is what was counted until now, of those of whom there is something to tell and of those who have left.
func (m *meeting) report(now time.Time) map[string]*user {
	out := map[string]*user{}
	for nick, u := range m.users {
		if u.Total == 0 && u.since.IsZero() && len(u.Faces) == 0 && !u.gone {
			continue
		}
		v := *u
		v.Faces = append([]face(nil), u.Faces...)
		v.stop(now)
		out[nick] = &v
	}
	return out
}
