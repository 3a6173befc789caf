package translator

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pion/stun/v4"
)

const (
	// maxValid bounds the validated addresses of a component.
	maxValid = 8
	// maxChecks is how often a check is sent, one each tick: 5 s.
	maxChecks = 50
	// maxChecking is the largest STUN message that is read: checks are about 100 bytes.
	maxChecking = 512
)

// iceSide is the ICE agent of a channel: it answers checks, and checks whoever proved to know the password. That is enough where our
// address is reachable, as a server's is. Guarded by the worker's lock, but for what is fixed.
type iceSide struct {
	ufrag, pwd string // fixed
	tie        uint64

	controlling           bool
	remoteFrag, remotePwd string
	validated             [2][]netip.AddrPort
}

// check is our request under way on one component.
type check struct {
	to    netip.AddrPort // invalid: none
	id    [stun.TransactionIDSize]byte
	tries int
}

func newICESide(controlling bool) *iceSide {
	var t [8]byte
	_, _ = rand.Read(t[:])
	return &iceSide{ufrag: rand.Text()[:8], pwd: rand.Text(), tie: binary.BigEndian.Uint64(t[:]), controlling: controlling}
}

func (s *iceSide) forget() { s.validated = [2][]netip.AddrPort{} }

func (s *iceSide) valid(component int, a netip.AddrPort) bool {
	return slices.Contains(s.validated[component], a)
}

// stun handles one message; false when it is not for us. Caller holds the worker's lock.
func (c *component) stun(evs *events, b []byte, from netip.AddrPort, now int64) bool {
	if len(b) > maxChecking {
		return false
	}
	m := stun.Message{Raw: slices.Clone(b)}
	if m.Decode() != nil || m.Type.Method != stun.MethodBinding {
		return false
	}
	switch m.Type.Class {
	case stun.ClassRequest:
		return c.request(evs, &m, from, now)
	case stun.ClassSuccessResponse:
		return c.response(evs, &m, from, now)
	case stun.ClassErrorResponse:
		return c.conflict(&m, from)
	default:
		return m.Type.Class == stun.ClassIndication // a keepalive; who sends it is not proved, so it says nothing
	}
}

// request answers a check (RFC 8445 §7.3).
func (c *component) request(evs *events, m *stun.Message, from netip.AddrPort, now int64) bool {
	s := c.t.ice
	var user stun.Username
	if user.GetFrom(m) != nil || !strings.HasPrefix(user.String(), s.ufrag+":") ||
		stun.NewShortTermIntegrity(s.pwd).Check(m) != nil {
		return false
	}
	if !c.role(m, from) {
		return true
	}
	c.reply(m, from)
	if !s.valid(c.index, from) {
		v := s.validated[c.index]
		if len(v) >= maxValid {
			v = v[1:]
		}
		s.validated[c.index] = append(v, from)
	}
	c.t.heard = now // RFC 7675: a check that is right is consent
	if !c.remote.IsValid() || !s.controlling && m.Contains(stun.AttrUseCandidate) && from != c.remote {
		c.choose(evs, from, now)
	}
	if c.check.to != from && s.remotePwd != "" && (s.controlling && !s.valid(c.index, c.check.to) || !s.controlling) {
		c.check = check{to: from}
		c.recheck(now)
	}
	return true
}

// choose sends to a from now on.
func (c *component) choose(evs *events, a netip.AddrPort, now int64) {
	c.t.w.s.count.inc(cLatched)
	c.latch(evs, a, now)
}

// role resolves a conflict (RFC 8445 §7.3.1.1); false: the other side has to change, and was told.
func (c *component) role(m *stun.Message, from netip.AddrPort) bool {
	s := c.t.ice
	theirs, err := m.Get(stun.AttrICEControlled)
	if s.controlling {
		theirs, err = m.Get(stun.AttrICEControlling)
	}
	if err != nil || len(theirs) != 8 {
		return true
	}
	if won := s.tie >= binary.BigEndian.Uint64(theirs); won == s.controlling {
		out, err := stun.Build(m, stun.NewType(stun.MethodBinding, stun.ClassErrorResponse), stun.CodeRoleConflict,
			stun.NewShortTermIntegrity(s.pwd), stun.Fingerprint)
		if err == nil {
			c.write(out.Raw, from)
		}
		return false
	}
	s.controlling = !s.controlling
	return true
}

func (c *component) reply(m *stun.Message, to netip.AddrPort) {
	out, err := stun.Build(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IP(to.Addr().AsSlice()), Port: int(to.Port())},
		stun.NewShortTermIntegrity(c.t.ice.pwd), stun.Fingerprint)
	if err == nil {
		c.write(out.Raw, to)
	}
}

// recheck sends the check under way once more. Caller holds the worker's lock.
func (c *component) recheck(int64) {
	s, k := c.t.ice, &c.check
	if s == nil || !k.to.IsValid() || k.tries >= maxChecks {
		return
	}
	if k.tries == 0 {
		_, _ = rand.Read(k.id[:])
	}
	k.tries++
	role := stun.RawAttribute{Type: stun.AttrICEControlled, Value: binary.BigEndian.AppendUint64(nil, s.tie)}
	set := []stun.Setter{stun.NewTransactionIDSetter(k.id), stun.BindingRequest, stun.NewUsername(s.remoteFrag + ":" + s.ufrag), priority()}
	if s.controlling {
		role.Type = stun.AttrICEControlling
		set = append(set, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	out, err := stun.Build(append(set, role, stun.NewShortTermIntegrity(s.remotePwd), stun.Fingerprint)...)
	if err == nil {
		c.write(out.Raw, k.to)
	}
}

// priority is that of a peer reflexive candidate (RFC 8445 §7.1.1).
func priority() stun.RawAttribute {
	return stun.RawAttribute{Type: stun.AttrPriority, Value: binary.BigEndian.AppendUint32(nil, 110<<24|65535<<8|255)}
}

// response ends our check; as controlling side it nominates the address.
func (c *component) response(evs *events, m *stun.Message, from netip.AddrPort, now int64) bool {
	s := c.t.ice
	if from != c.check.to || m.TransactionID != c.check.id || stun.NewShortTermIntegrity(s.remotePwd).Check(m) != nil {
		return false
	}
	c.check.to = netip.AddrPort{}
	c.t.heard = now
	if s.controlling && from != c.remote {
		c.choose(evs, from, now)
	}
	return true
}

// conflict changes our role when the end says so (RFC 8445 §7.2.5.1).
func (c *component) conflict(m *stun.Message, from netip.AddrPort) bool {
	s := c.t.ice
	var code stun.ErrorCodeAttribute
	if from != c.check.to || m.TransactionID != c.check.id || code.GetFrom(m) != nil || code.Code != stun.CodeRoleConflict ||
		stun.NewShortTermIntegrity(s.remotePwd).Check(m) != nil {
		return false
	}
	s.controlling = !s.controlling
	c.check.tries = 0
	return true
}

func (c *component) write(b []byte, to netip.AddrPort) {
	if c.sock.WriteTo(b, to) != nil {
		c.t.w.s.count.inc(cDropSocket)
	}
}
