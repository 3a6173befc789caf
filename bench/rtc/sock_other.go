//go:build !linux

package rtc

import (
	"errors"
	"net/netip"
	"time"
)

var errLinux = errors.New("rtc: the load engine needs Linux (recvmmsg, UDP_SEGMENT, epoll)")

// readyMax is as on Linux.
const readyMax = 512

type sock struct{ connected bool }

func openSock(netip.Addr) (*sock, netip.AddrPort, error) { return nil, netip.AddrPort{}, errLinux }
func (s *sock) connect(netip.AddrPort) error             { return errLinux }
func (s *sock) sendTo([]byte, netip.AddrPort) error      { return errLinux }
func (s *sock) sendRun([]byte, int) error                { return errLinux }
func (s *sock) close()                                   {}

type poller struct{}

func newPoller() (*poller, error)                          { return nil, errLinux }
func (p *poller) close()                                   {}
func (p *poller) add(*sock, int32) error                   { return errLinux }
func (p *poller) wait() int                                { return 0 }
func (p *poller) ready(int) int32                          { return 0 }
func (p *poller) read(*sock) (int, bool)                   { return 0, false }
func (p *poller) message(int) ([]byte, int, int64, uint32) { return nil, 0, 0, 0 }
func (p *poller) from(int) netip.AddrPort                  { return netip.AddrPort{} }
func sleep(ns int64)                                       { time.Sleep(time.Duration(ns)) }
func threadTime() int64                                    { return 0 }
func sharpTimers()                                         {}
