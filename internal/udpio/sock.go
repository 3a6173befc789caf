package udpio

import "net/netip"

// SockOptions of a socket of a Loop. Buffers are bytes; 0 leaves the system's default.
type SockOptions struct {
	Batch       int // datagrams, or coalesced runs, that are taken at a time; at least 1
	ReusePort   bool
	Shared      bool // several goroutines have a Fan for it; only neighbours make a run then
	ReadBuffer  int
	WriteBuffer int
	Refusals    bool // the loop tells of what routers and hosts say of datagrams (Loop.Refused), where the system does
	NoOffload   bool // neither UDP_GRO nor UDP_SEGMENT
	Owner       any  // what Sock.Owner gives back
}

// Datagram is one datagram and where it came in. Data is valid until the Loop's next Read.
type Datagram struct {
	Data []byte
	From netip.AddrPort
	Sock *Sock
}

// Refusal is an ICMP message about a datagram that a socket sent.
type Refusal struct {
	Sock       *Sock
	To         netip.AddrPort // of the datagram
	Type, Code uint8          // ICMPv4's or ICMPv6's, as To is
	MTU        uint32         // bytes, of the next hop for which the datagram was too long; 0: it was not
}

// Owner is what SockOptions named.
func (s *Sock) Owner() any { return s.owner }

// LocalAddr is the bound address.
func (s *Sock) LocalAddr() netip.AddrPort { return s.local }
