package signaling

import (
	"strconv"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

// asks are the iqs to services outside of meetings that wait for their answers.
type asks struct {
	mu   sync.Mutex // guards all below
	seq  uint64
	open map[string]*asked
}

// asked is one; done runs on the meeting's goroutine.
type asked struct {
	to    stanza.JID
	m     *meeting
	done  func(*stanza.Stanza) // nil: no answer came in time; may be nil itself
	timer *time.Timer
}

// ask sends an iq of type set to a service for a meeting.
func (f *Focus) ask(m *meeting, to stanza.JID, payload *stanza.Element, done func(*stanza.Stanza)) {
	f.asks.mu.Lock()
	f.asks.seq++
	id := "s" + strconv.FormatUint(f.asks.seq, 36)
	if f.asks.open == nil {
		f.asks.open = map[string]*asked{}
	}
	f.asks.open[id] = &asked{to: to, m: m, done: done, timer: time.AfterFunc(f.cfg.IQTimeout, func() { f.finish(id, nil) })}
	f.asks.mu.Unlock()
	f.router.Route(stanza.NewIQ("set", id, f.self, to, payload))
}

// answered takes an answer from a brewery.
func (f *Focus) answered(st *stanza.Stanza) {
	f.asks.mu.Lock()
	a := f.asks.open[st.ID]
	f.asks.mu.Unlock()
	if a != nil && a.to == st.From {
		f.finish(st.ID, st)
	}
}

func (f *Focus) finish(id string, answer *stanza.Stanza) {
	f.asks.mu.Lock()
	a := f.asks.open[id]
	delete(f.asks.open, id)
	f.asks.mu.Unlock()
	if a == nil {
		return
	}
	a.timer.Stop()
	if answer == nil {
		f.count.iqTimeouts.Add(1)
	}
	if a.done != nil {
		a.m.post(func() {
			if !a.m.ended {
				a.done(answer)
			}
		})
	}
}
