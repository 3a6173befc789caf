// Package check looks at a server as its operator and its clients would: DNS, certificate, ports, directory, other servers. It tells what is
// wrong and what to do about it.
//
// The path: Run goes through the parts in their order (records in dns.go, certificate in cert.go, ports in ports.go, then those that the caller
// has added), one after the other on the caller's goroutine, and prints a line for each thing it has looked at. Lines with FAIL are
// what keeps the service from working as it should, those with warn what may.
package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// patience bounds one question to the network.
const patience = 10 * time.Second

// Kind is how a port is spoken to.
type Kind uint8

// Kinds of ports.
const (
	ClientStartTLS Kind = iota // XMPP for clients with STARTTLS
	ServerStartTLS             // XMPP for servers with STARTTLS
	TLS                        // TLS from the first byte
	Plain                      // nothing is said
	STUN                       // UDP, answers STUN
)

// Port is one that others connect to.
type Port struct {
	Setting string // its name in the configuration
	What    string // for people
	Number  int
	Kind    Kind
	ALPN    string
}

// Record is a DNS record to set.
type Record struct {
	Name, Type, Value string
	Must              bool   // without it the service cannot be found
	Why               string // for people
}

// Plan is what is to be looked at.
type Plan struct {
	Domain  string   // people are user@Domain
	Host    string   // the machine's name
	Web     []string // names by which clients find pages, files and TURN over TLS
	Below   []string // domains below it that other servers talk to, such as conference.
	Open    bool     // other servers are welcome
	Listen  []string // addresses of the machine that the service listens on
	Public  []string // addresses by which it is reached where those are others
	Ports   []Port
	Records []Record

	Resolver    *net.Resolver
	Certificate *tls.Certificate // nil: it could not be read
	CertError   error
	CertAdvice  string         // what to do about that
	SelfSigned  bool           // made by ourselves, for trying out
	Roots       *x509.CertPool // whom clients trust; nil: the system's
	Proven      bool           // an authority looks at the domain itself, to see that it is ours
	CAA         string         // the authority that issues our certificate by ACME, "" for none
	Now         time.Time

	More []Part
}

// Part is a look at something else.
type Part struct {
	Name string
	Run  func(ctx context.Context, r *Report)
}

// Report prints what was found.
type Report struct {
	out          io.Writer
	fails, warns int
}

// OK tells that something is as it should be.
func (r *Report) OK(format string, args ...any) { fmt.Fprintf(r.out, "  ok    "+format+"\n", args...) }

// Note tells something that is neither good nor bad.
func (r *Report) Note(format string, args ...any) {
	fmt.Fprintf(r.out, "        "+format+"\n", args...)
}

// Warn tells what may be wrong; do is what to do.
func (r *Report) Warn(do, format string, args ...any) {
	r.warns++
	fmt.Fprintf(r.out, "  warn  "+format+"\n", args...)
	r.do(do)
}

// Fail tells what is wrong; do is what to do.
func (r *Report) Fail(do, format string, args ...any) {
	r.fails++
	fmt.Fprintf(r.out, "  FAIL  "+format+"\n", args...)
	r.do(do)
}

func (r *Report) do(do string) {
	if do != "" {
		fmt.Fprintf(r.out, "        → %s\n", do)
	}
}

func (r *Report) title(name string) { fmt.Fprintf(r.out, "%s\n", name) }

// Run looks at everything and gives an error if something is wrong.
func (p *Plan) Run(ctx context.Context, out io.Writer) error {
	r := &Report{out: out}
	p.records(r)
	hosts := p.dns(ctx, r)
	p.certificate(r)
	p.ports(ctx, r, hosts)
	for _, part := range p.More {
		r.title(part.Name)
		part.Run(ctx, r)
	}
	switch {
	case r.fails > 0:
		return fmt.Errorf("check: wrong: %d, perhaps wrong: %d: see the lines with FAIL and warn", r.fails, r.warns)
	case r.warns > 0:
		fmt.Fprintf(out, "it works; to be better: %d, see the lines with warn\n", r.warns)
	default:
		fmt.Fprintln(out, "everything is fine")
	}
	return nil
}

// addresses are those of a name; the error is for the operator.
func (p *Plan) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := p.Resolver.LookupNetIP(ctx, "ip", name)
	for i := range list {
		list[i] = list[i].Unmap()
	}
	return list, err
}

// Dial connects to an address whose name is looked up with the plan's resolver.
func (p *Plan) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{Resolver: p.Resolver}).DialContext(ctx, network, addr)
}
