package rtc

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// checkEvery is the pace of checks on one candidate (RFC 8445 §14.2), as libwebrtc's on a path that is not writable.
	checkEvery = int64(50 * time.Millisecond)
	// consentEvery is the time between two consent checks (RFC 7675 §5.1: 4 to 6 s).
	consentEvery = int64(5 * time.Second)
	// consentMost is how long a transport lives without an answer (RFC 7675 §5.1).
	consentMost = int64(30 * time.Second)
	// maxCandidates of the other side that are tried.
	maxCandidates = 8
)

// iceState is the minimal agent of a transport: one local candidate, and pairs that are the remote ones.
type iceState struct {
	controlling bool
	pairs       []pair
	tie         uint64
	askedAt     int64 // last consent check
	answeredAt  int64
}

// pair is a remote candidate.
type pair struct {
	addr      netip.AddrPort
	at        int64 // of the last check
	valid     bool
	nominated bool // by the other side
}

// candidate adds a pair.
func (t *Transport) candidate(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if t.state != stateChecking || len(t.ice.pairs) >= maxCandidates || a.Addr().Is4() != t.local.Candidate.Addr().Is4() ||
		slices.ContainsFunc(t.ice.pairs, func(p pair) bool { return p.addr == a }) {
		return
	}
	t.ice.pairs = append(t.ice.pairs, pair{addr: a})
}

// checks sends the connectivity checks that are due.
func (t *Transport) checks(now int64) {
	for i := range t.ice.pairs {
		p := &t.ice.pairs[i]
		if now-p.at >= checkEvery {
			p.at = now
			t.ask(p.addr)
		}
	}
}

// hostPriority is that of a host candidate, peer reflexive for the PRIORITY attribute (RFC 8445 §5.1.2, §7.1.1).
const prflxPriority = 110<<24 | 65535<<8 | 255

// ask sends a binding request. A controlling side nominates each pair that answers (aggressive nomination is what libwebrtc does).
func (t *Transport) ask(to netip.AddrPort) {
	if t.ice.tie == 0 {
		t.ice.tie = t.sh.rng.Uint64()
	}
	m := &t.sh.msg
	var prio [4]byte
	var tie [8]byte
	binary.BigEndian.PutUint32(prio[:], prflxPriority)
	binary.BigEndian.PutUint64(tie[:], t.ice.tie)
	m.Reset()
	m.TransactionID = t.transaction(to)
	m.SetType(stun.BindingRequest)
	m.WriteHeader()
	m.Add(stun.AttrUsername, []byte(t.remote.Ufrag+":"+t.local.Ufrag))
	m.Add(stun.AttrPriority, prio[:])
	if t.ice.controlling {
		m.Add(stun.AttrICEControlling, tie[:])
		m.Add(stun.AttrUseCandidate, nil)
	} else {
		m.Add(stun.AttrICEControlled, tie[:])
	}
	if stun.NewShortTermIntegrity(t.remote.Pwd).AddTo(m) != nil || stun.Fingerprint.AddTo(m) != nil {
		return
	}
	t.sendTo(m.Raw, to)
}

// transaction is the id of requests to an address: which pair a response belongs to is then known without a table. It cannot be guessed
// without the tie breaker, and responses are authenticated anyway.
func (t *Transport) transaction(to netip.AddrPort) (id [stun.TransactionIDSize]byte) {
	binary.BigEndian.PutUint64(id[:], t.ice.tie)
	a := to.Addr().As16()
	binary.BigEndian.PutUint16(id[8:], to.Port())
	binary.BigEndian.PutUint16(id[10:], binary.BigEndian.Uint16(a[14:]))
	return id
}

var errConsent = errors.New("rtc: no answer to consent checks")

// stun handles a STUN message. from is the zero address when it can only be the other side.
func (t *Transport) stun(b []byte, from netip.AddrPort) {
	if !from.IsValid() {
		from = t.to
	}
	m := &t.sh.msg
	m.Reset()
	m.Raw = append(m.Raw[:0], b...)
	if t.state == stateNew || m.Decode() != nil {
		return
	}
	switch m.Type {
	case stun.BindingRequest:
		if stun.NewShortTermIntegrity(t.local.Pwd).Check(m) != nil {
			return
		}
		use := m.Contains(stun.AttrUseCandidate)
		t.answer(m, from)
		if t.state == stateChecking {
			t.asked(from, use)
		}
	case stun.BindingSuccess:
		if m.TransactionID != t.transaction(from) || stun.NewShortTermIntegrity(t.remote.Pwd).Check(m) != nil {
			return
		}
		t.ice.answeredAt = time.Now().UnixNano()
		if t.state == stateChecking {
			t.valid(from)
		}
	case stun.BindingError:
		var code stun.ErrorCodeAttribute
		if code.GetFrom(m) == nil && code.Code == stun.CodeRoleConflict && t.state == stateChecking {
			t.ice.controlling = !t.ice.controlling
		}
	}
}

// answer sends a binding response.
func (t *Transport) answer(req *stun.Message, to netip.AddrPort) {
	m := &t.sh.reply
	m.Reset()
	m.TransactionID = req.TransactionID
	m.SetType(stun.BindingSuccess)
	m.WriteHeader()
	addr := stun.XORMappedAddress{IP: to.Addr().AsSlice(), Port: int(to.Port())}
	if addr.AddTo(m) != nil || stun.NewShortTermIntegrity(t.local.Pwd).AddTo(m) != nil || stun.Fingerprint.AddTo(m) != nil {
		return
	}
	t.sendTo(m.Raw, to)
}

// asked notes a check of the other side, which may make a new pair (RFC 8445 §7.3.1.3) and nominate it.
func (t *Transport) asked(from netip.AddrPort, nominated bool) {
	t.candidate(from)
	for i := range t.ice.pairs {
		p := &t.ice.pairs[i]
		if p.addr != from {
			continue
		}
		p.nominated = p.nominated || nominated
		if p.valid && p.nominated && !t.ice.controlling {
			t.selected(from)
		} else if !p.valid {
			p.at = 0 // triggered check
		}
		return
	}
}

// valid notes an answer to our check.
func (t *Transport) valid(from netip.AddrPort) {
	for i := range t.ice.pairs {
		if p := &t.ice.pairs[i]; p.addr == from {
			p.valid = true
			if t.ice.controlling || p.nominated {
				t.selected(from)
			}
			return
		}
	}
}

// selected ends the checks: the socket belongs to that address from now on, and DTLS begins.
func (t *Transport) selected(to netip.AddrPort) {
	if err := t.sock.connect(to); err != nil {
		t.end(err)
		return
	}
	t.to = to
	t.state = stateDTLS
	t.ice.askedAt = time.Now().UnixNano()
	t.peer.Step("ice")
	t.startDTLS()
}

// consent asks each few seconds whether the other side still wants our packets (RFC 7675).
func (t *Transport) consent(now int64) {
	if now-t.ice.askedAt < consentEvery {
		return
	}
	if now-t.ice.answeredAt > consentMost {
		t.end(errConsent)
		return
	}
	t.ice.askedAt = now
	t.ask(t.to)
}
