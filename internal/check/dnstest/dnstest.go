// Package dnstest is a small DNS server for tests: it knows what it is told, on a port of the loopback interface.
package dnstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Server answers until the end of its test.
type Server struct {
	Addr string // host:port

	mu    sync.Mutex // guards all below
	hosts map[string][]netip.Addr
	srv   map[string][]dnsmessage.SRVResource
}

// Start runs one, over UDP and TCP.
func Start(t testing.TB) *Server {
	t.Helper()
	ln, conn := listen(t)
	s := &Server{Addr: conn.LocalAddr().String(), hosts: map[string][]netip.Addr{}, srv: map[string][]dnsmessage.SRVResource{}}
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(conn) })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serveTCP(c) })
		}
	})
	t.Cleanup(func() { _ = conn.Close(); _ = ln.Close(); wg.Wait() })
	return s
}

// listen finds a port that is free for both.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return ln, conn
		}
		_ = ln.Close()
	}
	t.Fatal("no port that is free for UDP and TCP")
	return nil, nil
}

func (s *Server) serveUDP(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			_, _ = conn.WriteTo(answer, from) // a lost answer is asked for again
		}
	}
}

// serveTCP answers one question (RFC 1035 §4.2.2).
func (s *Server) serveTCP(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // a socket that is open takes one
	size := make([]byte, 2)
	if _, err := io.ReadFull(c, size); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(c, query); err != nil {
		return
	}
	answer := s.answer(query)
	_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) // who asked may have gone
}

// Resolver asks it.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.Addr)
	}}
}

// Host gives a name addresses.
func (s *Server) Host(name string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[name] = nil
	for _, a := range addrs {
		s.hosts[name] = append(s.hosts[name], netip.MustParseAddr(a))
	}
}

// SRV sets a service; port 0 takes it away.
func (s *Server) SRV(name, target string, port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.srv, name); port != 0 {
		s.srv[name] = []dnsmessage.SRVResource{{Weight: 5, Port: port, Target: dnsmessage.MustNewName(target + ".")}}
	}
}

func (s *Server) answer(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs, isHost := s.hosts[name]
	services, isSRV := s.srv[name]
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q}}
	if !isHost && !isSRV {
		out.RCode = dnsmessage.RCodeNameError
	}
	rh := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeSRV {
		for i := range services {
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: rh, Body: &services[i]})
		}
	}
	b, err := out.Pack()
	if err != nil {
		return nil
	}
	return b
}
