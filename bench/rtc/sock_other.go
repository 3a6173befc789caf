//go:build !linux

package rtc

import (
	"errors"
	"net/netip"
)

var errLinux = errors.New("rtc: the load engine needs Linux (recvmmsg, sendmmsg, UDP_SEGMENT)")

type sock struct {
	connected, shared bool
	port              uint16
	dropped           uint32
}

func openSock(netip.Addr, bool) (*sock, error) { return nil, errLinux }
func openShared(bool) (*sock, error)           { return nil, errLinux }
func (s *sock) connect(netip.AddrPort) error   { return errLinux }
func (s *sock) close()                         {}

type bed struct{}

func newBed() (bed, error)   { return bed{}, errLinux }
func (b bed) sleep(ns int64) {}
func (b bed) wake()          {}
func (b bed) close()         {}

type message struct {
	b       []byte
	seg     int
	at      int64
	dropped uint32
	to      [4]byte
}

type mediaTap struct{}

func newTap(bool) (*mediaTap, error)             { return nil, errLinux }
func (t *mediaTap) attach(*sock) error           { return errLinux }
func (t *mediaTap) close()                       {}
func (t *mediaTap) want(uint16, [maskBytes]byte) {}
func (t *mediaTap) lostNow() uint64              { return 0 }
func (t *mediaTap) begin()                       {}
func (t *mediaTap) next() (note, bool)           { return note{}, false }
func (t *mediaTap) done()                        {}

type note struct {
	slot uint16
	at   int64
}

func (n *note) packet() ([]byte, int, bool, bool) { return nil, 0, false, false }

type inbox struct{}

func newInbox() (*inbox, error)               { return nil, errLinux }
func (p *inbox) close()                       {}
func (p *inbox) read(*sock, bool) (int, bool) { return 0, false }
func (p *inbox) message(int) message          { return message{} }
func (p *inbox) from(int) netip.AddrPort      { return netip.AddrPort{} }

type outbox struct{}

func newOutbox() *outbox                                             { return &outbox{} }
func (o *outbox) room() ([]byte, int)                                { return nil, 0 }
func (o *outbox) put(*sock, netip.Addr, netip.AddrPort, []byte, int) {}
func (o *outbox) flush() int                                         { return 0 }
