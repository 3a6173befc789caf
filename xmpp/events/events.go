// Package events tells of what happens in meetings, in the order in which it happens: who comes and goes, what begins and ends. Its Watcher is an
// observer of rooms; what it says goes to one function, for web hooks or whatever an operator has.
package events

import (
	"sync"
	"time"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Types of events.
const (
	RoomCreated       = "ROOM_CREATED"
	RoomDestroyed     = "ROOM_DESTROYED"
	ParticipantJoined = "PARTICIPANT_JOINED"
	ParticipantLeft   = "PARTICIPANT_LEFT"
	RecordingStarted  = "RECORDING_STARTED"
	RecordingEnded    = "RECORDING_ENDED"
)

// Event is one thing that happened.
type Event struct {
	Type    string    `json:"eventType"`
	At      time.Time `json:"timestamp"`
	Room    string    `json:"room"`      // address
	Meeting string    `json:"sessionId"` // meeting id
	Data    any       `json:"data,omitempty"`
}

// participant is who came or went.
type participant struct {
	ID    string `json:"participantId"`
	JID   string `json:"participantJid"`
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	Role  string `json:"role,omitempty"`
}

// Recording is what is recorded or streamed.
type Recording struct {
	Session string `json:"recordingSessionId"`
	Mode    string `json:"mode"` // file, stream
	By      string `json:"initiatorId,omitempty"`
	Reason  string `json:"failureReason,omitempty"`
}

// Rooms answers about meetings.
type Rooms interface {
	jitsi.People
	MeetingID(room stanza.JID) (string, bool)
}

// Watcher is an observer of rooms.
type Watcher struct {
	rooms Rooms
	emit  func(Event)
	now   func() time.Time

	mu  sync.Mutex                        // guards all below
	ids map[stanza.JID]string             // meeting ids by room
	in  map[stanza.JID]map[string]*person // by room and nick
}

type person struct {
	real stanza.JID
	p    participant
}

// New makes a watcher; emit gets each event, in order for each room, and must not wait.
func New(rooms Rooms, emit func(Event)) *Watcher {
	return &Watcher{rooms: rooms, emit: emit, now: time.Now, ids: map[stanza.JID]string{}, in: map[stanza.JID]map[string]*person{}}
}

// Joining implements the observer of rooms.
func (w *Watcher) Joining(_, _ stanza.JID, _ string, _ func(*stanza.Stanza)) {}

// Joined tells of a new room, and of a participant.
func (w *Watcher) Joined(room, real stanza.JID, nick string) {
	if !w.rooms.Meeting(room) {
		return
	}
	id, _ := w.rooms.MeetingID(room)
	p, ok := w.rooms.Person(room, real)
	w.mu.Lock()
	_, known := w.ids[room]
	if !known {
		w.ids[room], w.in[room] = id, map[string]*person{}
	}
	who := participant{ID: nick, JID: real.String(), Name: p.Name, Email: p.Email, Role: p.Role}
	counts := ok && !p.Hidden && w.in[room][nick] == nil
	if counts {
		w.in[room][nick] = &person{real, who}
	}
	w.mu.Unlock()
	if !known {
		w.Tell(RoomCreated, room, nil)
	}
	if counts {
		w.Tell(ParticipantJoined, room, who)
	}
}

// Left tells of a participant.
func (w *Watcher) Left(room, real stanza.JID, nick string) {
	w.mu.Lock()
	p := w.in[room][nick]
	if p == nil || p.real != real {
		w.mu.Unlock()
		return
	}
	delete(w.in[room], nick)
	w.mu.Unlock()
	w.Tell(ParticipantLeft, room, p.p)
}

// Changed keeps names up to date.
func (w *Watcher) Changed(room, real stanza.JID, nick string) {
	p, ok := w.rooms.Person(room, real)
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.in[room][nick]; ok && old != nil && old.real == real {
		old.p.Name, old.p.Email, old.p.Role = p.Name, p.Email, p.Role
	}
}

// Destroyed tells of the end of a room.
func (w *Watcher) Destroyed(room stanza.JID) {
	w.mu.Lock()
	_, known := w.ids[room]
	w.mu.Unlock()
	if !known {
		return
	}
	w.Tell(RoomDestroyed, room, nil)
	w.mu.Lock()
	delete(w.ids, room)
	delete(w.in, room)
	w.mu.Unlock()
}

// Tell emits an event of a room; other parts tell of recordings by it.
func (w *Watcher) Tell(typ string, room stanza.JID, data any) {
	w.mu.Lock()
	id := w.ids[room]
	w.mu.Unlock()
	w.emit(Event{Type: typ, At: w.now().UTC(), Room: room.String(), Meeting: id, Data: data})
}
