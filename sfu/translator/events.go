package translator

import "net/netip"

type eventKind uint8

const (
	evLatched eventKind = iota
	evSource
	evExpired
)

type event struct {
	ch        *Channel
	kind      eventKind
	component int
	addr      netip.AddrPort
	ssrc      uint32
}

// events are gathered under a lock and told without it.
type events struct{ list []event }

func (e *events) add(ev event) { e.list = append(e.list, ev) }

func (e *events) tell() {
	for _, ev := range e.list {
		to := ev.ch.group.ev
		switch ev.kind {
		case evLatched:
			to.Latched(ev.ch, ev.component, ev.addr)
		case evSource:
			to.Source(ev.ch, ev.ssrc)
		case evExpired:
			to.Expired(ev.ch)
		}
	}
}

type noEvents struct{}

func (noEvents) Latched(*Channel, int, netip.AddrPort) {}
func (noEvents) Source(*Channel, uint32)               {}
func (noEvents) Expired(*Channel)                      {}
func (noEvents) Opened(*Channel)                       {}
func (noEvents) Message(*Channel, []byte)              {}
