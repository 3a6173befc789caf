package signaling

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

// brewery is a room in which instances of a service, Jibri or Jigasi, tell how busy they are. The focus sits in it and picks among them.
type brewery struct {
	f    *Focus
	room stanza.JID

	mu        sync.Mutex // guards all below
	instances map[stanza.JID]*instance
	watchers  map[*jibriSession]stanza.JID // who is to be told when an instance goes
}

// instance is one of them, as its presence tells.
type instance struct {
	busy, healthy bool
	stress        float64 // 0 idle to 1 full
	sip, scribe   bool    // Jigasi: calls, transcription
	region        string
	failed        time.Time // it did not do what it was asked for
}

// failureRest is how long an instance that failed is passed over while there are others.
const failureRest = time.Minute

func newBrewery(f *Focus, room string) (*brewery, error) {
	if room == "" {
		return nil, nil
	}
	j, err := stanza.ParseJID(room)
	if err != nil {
		return nil, err
	}
	return &brewery{f: f, room: j, instances: map[stanza.JID]*instance{}, watchers: map[*jibriSession]stanza.JID{}}, nil
}

// join enters the room.
func (b *brewery) join() {
	me, err := b.room.WithResource("focus")
	if err != nil {
		return // the resource is a constant
	}
	b.f.router.Route(stanza.NewPresence("", b.f.self, me, stanza.NewElement(nsMUC, "x")))
}

// presence takes what an instance says of itself.
func (b *brewery) presence(st *stanza.Stanza) {
	if st.From.Resource() == "" || st.From.Resource() == "focus" {
		return
	}
	var told []*jibriSession
	b.mu.Lock()
	old := b.instances[st.From]
	switch st.Type {
	case "":
		now := readInstance(st)
		if old != nil {
			now.failed = old.failed
		}
		b.instances[st.From] = now
	case "unavailable":
		delete(b.instances, st.From)
		for r, at := range b.watchers {
			if at == st.From {
				told = append(told, r)
			}
		}
	}
	b.mu.Unlock()
	for _, r := range told {
		r.m.post(func() { r.instanceGone(st.From) })
	}
}

func readInstance(st *stanza.Stanza) *instance {
	in := &instance{healthy: true, sip: true}
	if el := st.Child(nsJibri, "jibri-status"); el != nil {
		in.busy = el.Child(nsJibri, "busy-status").Attr("status") != "idle"
		in.healthy = el.Child(nsHealth, "health-status").Attr("status") == "healthy"
	}
	for _, s := range st.Child(nsColibri, "stats").Children() {
		v := s.Attr("value")
		switch s.Attr("name") {
		case "stress_level":
			in.stress, _ = strconv.ParseFloat(v, 64) // what is no number is no stress
		case "supports_sip":
			in.sip = v == "true"
		case "supports_transcription":
			in.scribe = v == "true"
		case "region":
			in.region = v
		case "graceful_shutdown", "shutting_down":
			in.healthy = in.healthy && v != "true"
		}
	}
	return in
}

// pick gives the least busy instance that fits and is none of not; any tells whether there is one at all.
func (b *brewery) pick(fits func(*instance) bool, not []stanza.JID) (best stanza.JID, any bool) {
	if b == nil {
		return stanza.JID{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	worse := func(a, than *instance) bool {
		ra, rt := now.Sub(a.failed) < failureRest, now.Sub(than.failed) < failureRest
		if ra != rt {
			return ra
		}
		return a.stress >= than.stress
	}
	for j, in := range b.instances {
		any = any || in.healthy
		if in.busy || !in.healthy || !fits(in) || slices.Contains(not, j) {
			continue
		}
		if old := b.instances[best]; old == nil || !worse(in, old) {
			best = j
		}
	}
	return best, any
}

// failed notes that an instance did not do what it was asked for.
func (b *brewery) failed(j stanza.JID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if in := b.instances[j]; in != nil {
		in.failed = time.Now()
	}
}

// watch has r told when the instance goes; a zero address ends that.
func (b *brewery) watch(r *jibriSession, at stanza.JID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.watchers, r); !at.IsZero() {
		b.watchers[r] = at
	}
}

// count is how many instances there are.
func (b *brewery) count() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.instances)
}

// breweryOf is the brewery that a stanza comes from, nil if it comes from none.
func (f *Focus) breweryOf(room stanza.JID) *brewery {
	for _, b := range []*brewery{f.jibris, f.jigasis} {
		if b != nil && b.room == room {
			return b
		}
	}
	return nil
}

// fromBrewery takes a stanza of an instance: how it is, what became of a recording, and answers.
func (f *Focus) fromBrewery(b *brewery, st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.Presence:
		b.presence(st)
	case st.Kind == stanza.IQ && (st.Type == "result" || st.Type == "error"):
		f.answered(st)
	case st.Kind == stanza.IQ && st.Has(nsJibri, "jibri"):
		f.fromJibri(st)
	case st.Kind == stanza.IQ:
		f.router.Route(answerCommon(st))
	}
}
