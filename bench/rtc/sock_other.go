//go:build !linux

package rtc

import (
	"errors"
	"io"
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

// Clock is none here.
type Clock struct{}

// Start fails.
func (c *Clock) Start([]string, int) (int, error) { return 0, errLinux }

// Stop does nothing.
func (c *Clock) Stop() error { return nil }

func (c *Clock) place() int       { return -1 }
func (c *Clock) sleep(int, int64) {}

// ClockMain fails.
func ClockMain([]string, io.Reader) error { return errLinux }

type tap struct{}

func newTap(bool) (*tap, error)             { return nil, errLinux }
func (t *tap) attach(*sock) error           { return errLinux }
func (t *tap) close()                       {}
func (t *tap) want(uint16, [maskBytes]byte) {}
func (t *tap) lostNow() uint64              { return 0 }
func (t *tap) begin() error                 { return errLinux }
func (t *tap) next() (note, bool)           { return note{}, false }
func (t *tap) done()                        {}

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
