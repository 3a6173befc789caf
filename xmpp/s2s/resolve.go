package s2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"konzil/xmpp/stanza"
)

// Resolver is what we ask DNS; net.Resolver is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const defaultPort = 5269

// endpoint is a host that may take streams for a domain.
type endpoint struct {
	host   string
	port   uint16
	direct bool // TLS from the first byte (XEP-0368)
}

var (
	errNoService = errors.New("s2s: the domain says that it has no XMPP server")
	errPrivate   = errors.New("the address is in a private network, and xmpp.federation.allow_private is off")
)

// lookups is how many questions endpoints asks at once: one for each kind of record.
const lookups = 2

// endpoints finds where a domain takes streams, best first (RFC 6120 §3.2, XEP-0368 §3: both kinds of records are one list by priority). Errors that
// are not of the kind "no such record" are passed on, so that a broken DNS does not look like another server.
func endpoints(ctx context.Context, r Resolver, domain string) ([]endpoint, error) {
	if _, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		return []endpoint{{strings.Trim(domain, "[]"), defaultPort, false}}, nil
	}
	name := stanza.DNSName(domain)
	type found struct {
		direct bool
		recs   []*net.SRV
		err    error
	}
	ch := make(chan found, lookups)
	for _, direct := range []bool{true, false} {
		service := "xmpp-server"
		if direct {
			service = "xmpps-server"
		}
		go func() {
			_, recs, err := r.LookupSRV(ctx, service, "tcp", name)
			ch <- found{direct, recs, err}
		}()
	}
	var out []endpoint
	var prio []uint16
	none := 0
	for range lookups {
		f := <-ch
		var de *net.DNSError
		if f.err != nil && (!errors.As(f.err, &de) || !de.IsNotFound) && len(f.recs) == 0 {
			return nil, fmt.Errorf("s2s: %s: %w", domain, f.err)
		}
		for _, rec := range f.recs {
			if rec.Target == "." || rec.Target == "" { // RFC 2782: decidedly not
				none++
				continue
			}
			at := len(out)
			for at > 0 && (prio[at-1] > rec.Priority || prio[at-1] == rec.Priority && f.direct && !out[at-1].direct) {
				at--
			}
			e := endpoint{strings.TrimSuffix(rec.Target, "."), rec.Port, f.direct}
			out = append(out[:at], append([]endpoint{e}, out[at:]...)...)
			prio = append(prio[:at], append([]uint16{rec.Priority}, prio[at:]...)...)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case none > 0:
		return nil, errNoService
	}
	return []endpoint{{name, defaultPort, false}}, nil
}

// staggered is the delay between two addresses of one host (RFC 8305 §5).
const staggered = 250 * time.Millisecond

// maxAddresses bounds how many addresses of a host are tried.
const maxAddresses = 8

// dial connects to one endpoint, IPv6 and IPv4 addresses in turn (RFC 8305, XEP-0495).
func (s *Service) dial(ctx context.Context, e endpoint) (net.Conn, error) {
	addrs, err := s.cfg.Resolver.LookupNetIP(ctx, "ip", e.host)
	if err != nil {
		return nil, err
	}
	addrs = interleave(addrs)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("s2s: %s has no address", e.host)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.DialTimeout)
	defer cancel()
	type result struct {
		c   net.Conn
		err error
	}
	ch := make(chan result, len(addrs))
	next := time.NewTimer(0)
	defer next.Stop()
	started, ended := 0, 0
	for {
		select {
		case <-next.C:
			if started < len(addrs) {
				a := addrs[started]
				started++
				go func() {
					c, err := s.dialAddr(ctx, a, e.port)
					ch <- result{c, err}
				}()
				next.Reset(staggered)
			}
		case r := <-ch:
			if r.err == nil {
				go func() { // the others lose
					for range started - ended - 1 {
						if r := <-ch; r.c != nil {
							_ = r.c.Close()
						}
					}
				}()
				return r.c, nil
			}
			err = r.err
			if ended++; ended == len(addrs) {
				return nil, err
			}
			next.Reset(0)
		}
	}
}

// interleave puts addresses of the two families in turn, IPv6 first.
func interleave(in []netip.Addr) []netip.Addr {
	var six, four, out []netip.Addr
	for _, a := range in {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for len(six)+len(four) > 0 && len(out) < maxAddresses {
		if len(six) > 0 {
			out, six = append(out, six[0]), six[1:]
		}
		if len(four) > 0 {
			out, four = append(out, four[0]), four[1:]
		}
	}
	return out
}

func (s *Service) dialAddr(ctx context.Context, a netip.Addr, port uint16) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err == nil && !s.cfg.AllowPrivate && private(ap.Addr()) {
			return errPrivate
		}
		return err
	}}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(int(port))))
}

// reserved are the networks that are not the internet, beside what netip knows (RFC 6890).
var reserved = func() (out []netip.Prefix) {
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b:1::/48", "100::/64", "2001:db8::/32", "2002::/16", "2001::/32"} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// private tells addresses that a name in public DNS has no business to point to.
func private(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) { // the IPv4 address inside decides (RFC 6052 §2.2)
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
