// Package icemux lets many pion/ice agents share the media sockets: it is an ice.UDPMux that is handed only STUN.
//
// The path, in order:
//
//  1. The SFU's demux (sfu/demux.go, a socket's goroutine) finds a STUN message and calls Mux.Deliver.
//  2. A request goes to the agent whose local user name fragment heads USERNAME (RFC 8445 §7.3), a response to the agent
//     that sent the transaction: addresses alone cannot tell, since clients behind different NATs name the same private ones.
//  3. The agent's candidate reads it from its conn (the agent's goroutine) and answers through conn.WriteToAddrPort.
//  4. A success response that an agent writes proves that the address knew the password (RFC 8445 §7.3): the mux tells
//     its owner through Owner.Validated, and from then on DTLS and SRTP of that address belong to that owner.
package icemux

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// queueLen bounds the STUN messages waiting for one candidate; beyond it they are dropped: checks are repeated.
	queueLen = 32
	// transactionLife is how long a request waits for its response: ICE gives up sooner.
	transactionLife = 5 * time.Second
	// maxTransactions bounds memory; beyond it the oldest generation is forgotten at once.
	maxTransactions = 1 << 16
	// maxSTUN is the largest message taken, in bytes: checks are about 100.
	maxSTUN = 1500
)

// Owner learns what the mux sees for its user name fragment. Calls come from the agent's or a socket's goroutine.
type Owner interface {
	// Validated: remote has proven to know the password of the fragment, at listening address local.
	Validated(local int, remote netip.AddrPort)
	// Heard: an authenticated request of remote was answered, or remote answered ours.
	Heard(remote netip.AddrPort)
}

// Sender puts a datagram on the wire from listening address local.
type Sender func(local int, b []byte, to netip.AddrPort)

// Mux routes STUN between sockets and agents.
type Mux struct {
	locals []netip.AddrPort
	send   Sender

	mu    sync.Mutex // guards all below
	users map[string]*user
	// Transactions in two generations: dropping the older one costs nothing per entry.
	young, old map[txID]*Conn
	turned     time.Time
}

type txID [stun.TransactionIDSize]byte

type user struct {
	owner Owner
	conns map[int]*Conn
}

// Result says what became of a message given to Deliver.
type Result uint8

// Results of Deliver.
const (
	Delivered Result = iota
	Malformed
	UnknownUser        // a request for no agent of ours
	UnknownTransaction // a response to nothing we sent
	Overflow           // the candidate's queue was full
)

// New makes a mux over the listening addresses.
func New(locals []netip.AddrPort, send Sender) *Mux {
	return &Mux{locals: locals, send: send, users: map[string]*user{}, young: map[txID]*Conn{}, old: map[txID]*Conn{}}
}

// Bind makes an ice.UDPMux for one agent. Each of the agent's user name fragments is told to owner.
func (m *Mux) Bind(owner Owner) *Agent { return &Agent{m: m, owner: owner} }

// Deliver routes one STUN message that came in from `from` at listening address local. pkt is not kept.
func (m *Mux) Deliver(local int, from netip.AddrPort, pkt []byte) Result {
	if len(pkt) < 20 || len(pkt) > maxSTUN || !stun.IsMessage(pkt) {
		return Malformed
	}
	var c *Conn
	switch class := pkt[0]&1<<1 | pkt[1]>>4&1; class { // RFC 8489 §5
	case 0: // request
		frag, ok := username(pkt)
		if !ok {
			return Malformed
		}
		m.mu.Lock()
		if u := m.users[string(frag)]; u != nil {
			c = u.conns[local]
		}
		m.mu.Unlock()
		if c == nil {
			return UnknownUser
		}
	case 1: // indication: keeps a binding open, needs nothing
		return Delivered
	default:
		var id txID
		copy(id[:], pkt[8:20])
		m.mu.Lock()
		if c = m.young[id]; c == nil {
			c = m.old[id]
		}
		m.mu.Unlock()
		if c == nil {
			return UnknownTransaction
		}
	}
	if pkt[0]&1 != 0 {
		c.owner.Heard(from)
	}
	b := make([]byte, len(pkt))
	copy(b, pkt)
	select {
	case c.in <- message{b, from}:
		return Delivered
	case <-c.done:
		return UnknownUser
	default:
		return Overflow
	}
}

// username returns the local fragment of a request's USERNAME, <local>:<remote>.
func username(pkt []byte) ([]byte, bool) {
	b := pkt[20:]
	for len(b) >= 4 {
		typ, n := uint16(b[0])<<8|uint16(b[1]), int(b[2])<<8|int(b[3])
		if 4+n > len(b) {
			return nil, false
		}
		if typ == uint16(stun.AttrUsername) {
			v := b[4 : 4+n]
			for i, ch := range v {
				if ch == ':' {
					return v[:i], true
				}
			}
			return nil, false
		}
		n = (n + 3) &^ 3
		if 4+n > len(b) {
			return nil, false
		}
		b = b[4+n:]
	}
	return nil, false
}

func (m *Mux) remember(id txID, c *Conn) {
	now := time.Now()
	m.mu.Lock()
	if now.Sub(m.turned) > transactionLife || len(m.young) > maxTransactions {
		m.old, m.young, m.turned = m.young, map[txID]*Conn{}, now
	}
	m.young[id] = c
	m.mu.Unlock()
}

func (m *Mux) drop(c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.users[c.frag]; u != nil && u.conns[c.local] == c {
		delete(u.conns, c.local)
		if len(u.conns) == 0 {
			delete(m.users, c.frag)
		}
	}
	// What waits for a response would keep the endpoint's whole memory until the generations turn.
	gone := func(_ txID, x *Conn) bool { return x == c }
	maps.DeleteFunc(m.young, gone)
	maps.DeleteFunc(m.old, gone)
}

// Users counts the user name fragments that are served.
func (m *Mux) Users() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.users)
}

// Agent is the ice.UDPMux of one agent.
type Agent struct {
	m     *Mux
	owner Owner
}

// GetConn implements ice.UDPMux.
func (a *Agent) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	local := -1
	if u, ok := addr.(*net.UDPAddr); ok {
		for i, l := range a.m.locals {
			if ap := u.AddrPort(); l.Port() == ap.Port() && l.Addr() == ap.Addr().Unmap() {
				local = i
			}
		}
	}
	if local < 0 {
		return nil, &net.AddrError{Err: "not a listening address", Addr: addr.String()}
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	u := a.m.users[ufrag]
	if u == nil {
		u = &user{owner: a.owner, conns: map[int]*Conn{}}
		a.m.users[ufrag] = u
	}
	if c := u.conns[local]; c != nil {
		return c, nil
	}
	c := &Conn{m: a.m, owner: a.owner, frag: ufrag, local: local, in: make(chan message, queueLen), done: make(chan struct{})}
	u.conns[local] = c
	return c, nil
}

// RemoveConnByUfrag implements ice.UDPMux.
func (a *Agent) RemoveConnByUfrag(ufrag string) {
	a.m.mu.Lock()
	u := a.m.users[ufrag]
	if u != nil && u.owner == a.owner {
		delete(a.m.users, ufrag)
	}
	a.m.mu.Unlock()
	if u != nil && u.owner == a.owner {
		for _, c := range u.conns {
			_ = c.Close()
		}
	}
}

// GetListenAddresses implements ice.UDPMux.
func (a *Agent) GetListenAddresses() []net.Addr {
	out := make([]net.Addr, len(a.m.locals))
	for i, l := range a.m.locals {
		out[i] = net.UDPAddrFromAddrPort(l)
	}
	return out
}

// Close implements io.Closer; the sockets are not the agent's to close.
func (a *Agent) Close() error { return nil }
