package udpio

import "net/netip"

// SockOptions of a socket of a Loop. Buffers are bytes; 0 leaves the system's default.
type SockOptions struct {
	Batch       int // datagrams, or coalesced runs, that are taken at a time; at least 1
	ReusePort   bool
	Shared      bool // several goroutines have a Fan for it; only neighbours make a run then
	ReadBuffer  int
	WriteBuffer int
	NoOffload   bool // neither UDP_GRO nor UDP_SEGMENT
	Owner       any  // what Sock.Owner gives back
}

// Datagram is one datagram and where it came in. Data is valid until the Loop's next Read.
type Datagram struct {
	Data []byte
	From netip.AddrPort
	Sock *Sock
}

// Owner is what SockOptions named.
func (s *Sock) Owner() any { return s.owner }

// LocalAddr is the bound address.
func (s *Sock) LocalAddr() netip.AddrPort { return s.local }
