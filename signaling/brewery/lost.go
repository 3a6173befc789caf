package brewery

import (
	"sync"

	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

// maxFocuses conferences are known to be a focus': more than a bridge carries. Of others nobody is told.
const maxFocuses = 10_000

// losses knows whom to tell when a relay of a conference fails.
type losses struct {
	mu      sync.Mutex // guards focuses
	focuses map[string]stanza.JID
}

// note takes what became of a request.
func (l *losses) note(m *colibri.ConferenceModify, from stanza.JID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
	case m.Expire:
		delete(l.focuses, m.MeetingID)
	case len(m.Relays) > 0 && len(l.focuses) < maxFocuses:
		if l.focuses == nil {
			l.focuses = map[string]stanza.JID{}
		}
		l.focuses[m.MeetingID] = from
	}
}

func (l *losses) focus(meetingID string) (stanza.JID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j, ok := l.focuses[meetingID]
	return j, ok
}

// EndpointLost implements colibri.Listener: a focus elsewhere hears of that from the client.
func (m *Member) EndpointLost(string, string) {}

// RelayLost implements colibri.RelayListener: the focus that made the relay is told, who may have no other way to see that media do not pass.
func (m *Member) RelayLost(meetingID, relay string) {
	focus, ok := m.lost.focus(meetingID)
	send := m.out.Load()
	if !ok || send == nil {
		return
	}
	m.work.do(meetingID, func() {
		(*send)(stanza.NewMessage("", stanza.JID{}, focus, colibri.RelayLostElement(meetingID, relay)))
	})
}

var _ colibri.RelayListener = (*Member)(nil)
