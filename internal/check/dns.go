package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// records prints what the operator of the domain has to set, as lines of a zone file (RFC 1035 §5).
func (p *Plan) records(r *Report) {
	r.title("DNS records to set")
	for _, rec := range p.Records {
		r.Note("%-42s IN %-5s %s", rec.Name+".", rec.Type, rec.Value)
	}
	own := slices.Clone(p.Public)
	if len(own) == 0 {
		own = p.ownPublic()
	}
	for _, a := range own {
		if addr, err := netip.ParseAddr(a); err == nil {
			typ := "A"
			if addr.Is6() {
				typ = "AAAA"
			}
			r.Note("%-42s IN %-5s %s", p.Host+".", typ, addr)
		}
	}
	if p.CAA != "" {
		r.Note("%-42s IN %-5s 0 issue \"%s\"   ; nobody else shall issue certificates (RFC 8659)", p.Domain+".", "CAA", p.CAA)
	}
}

// ownPublic are the addresses of this machine that the world could reach.
func (p *Plan) ownPublic() (out []string) {
	for _, a := range p.own() {
		if a.IsGlobalUnicast() && !a.IsPrivate() {
			out = append(out, a.String())
		}
	}
	return out
}

// own are all addresses of this machine.
func (p *Plan) own() (out []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, prefix.Addr().Unmap())
		}
	}
	return out
}

// dns looks whether the records are there. It gives the addresses of the machine's name.
func (p *Plan) dns(ctx context.Context, r *Report) []netip.Addr {
	r.title("DNS")
	addrs := p.host(ctx, r)
	if p.Proven && p.Domain != p.Host {
		p.proven(ctx, r, addrs)
	}
	for _, rec := range p.Records {
		switch rec.Type {
		case "SRV":
			p.srv(ctx, r, rec)
		case "CNAME":
			p.alias(ctx, r, rec)
		}
	}
	return addrs
}

// host looks up the machine's name and compares with what the machine has.
func (p *Plan) host(ctx context.Context, r *Report) []netip.Addr {
	addrs, err := p.addresses(ctx, p.Host)
	if err != nil || len(addrs) == 0 {
		r.Fail("set an A record (and AAAA) with the address of this machine, or correct host in the configuration", "%s has no address: %s", p.Host, dnsError(err))
		return nil
	}
	own := p.own()
	for _, a := range p.Public {
		if addr, err := netip.ParseAddr(a); err == nil {
			own = append(own, addr)
		}
	}
	for _, a := range addrs {
		if slices.Contains(own, a) {
			r.OK("%s is %s, this machine", p.Host, a)
		} else {
			r.Warn("correct the record; behind a NAT that is fine when its ports are forwarded: then put the address into media.advertise", "%s is %s, which is no address of this machine", p.Host, a)
		}
	}
	return addrs
}

// proven looks whether an authority that asks the domain (RFC 8555 §8.3) comes to this machine.
func (p *Plan) proven(ctx context.Context, r *Report, host []netip.Addr) {
	forward := "have the web server there send http://" + p.Domain + "/.well-known/acme-challenge/ on to http://" + p.Host + "/.well-known/acme-challenge/"
	addrs, err := p.addresses(ctx, p.Domain)
	if err != nil || len(addrs) == 0 {
		r.Fail("set an A record (and AAAA) for it, with the address of this machine or of a web server that sends the questions on, or use the files of a certificate (tls.cert)",
			"%s has no address: the authority cannot see that it is ours, and issues no certificate", p.Domain)
		return
	}
	for _, a := range addrs {
		if slices.Contains(host, a) {
			r.OK("%s is %s, where the authority asks", p.Domain, a)
		} else {
			r.Warn(forward+", or use the files of a certificate (tls.cert)", "%s is %s, another machine, where the authority asks", p.Domain, a)
		}
	}
}

// srv looks for one record.
func (p *Plan) srv(ctx context.Context, r *Report, rec Record) {
	var prio, weight, port int
	var target string
	if _, err := fmt.Sscanf(rec.Value, "%d %d %d %s", &prio, &weight, &port, &target); err != nil {
		return // of our own making
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, list, err := p.Resolver.LookupSRV(ctx, "", "", rec.Name)
	add := fmt.Sprintf("set the record: %s. IN SRV %s", rec.Name, rec.Value)
	if len(list) == 0 {
		text := fmt.Sprintf("%s is missing (%s): %s", rec.Name, dnsError(err), rec.Why)
		if rec.Must {
			r.Fail(add, "%s", text)
		} else {
			r.Warn(add, "%s", text)
		}
		return
	}
	var others []string
	for _, s := range list {
		if strings.EqualFold(strings.TrimSuffix(s.Target, "."), strings.TrimSuffix(target, ".")) && int(s.Port) == port {
			r.OK("%s is %s port %d", rec.Name, strings.TrimSuffix(s.Target, "."), s.Port)
			return
		}
		others = append(others, fmt.Sprintf("%s port %d", s.Target, s.Port))
	}
	r.Fail(add+", in place of what is there", "%s leads to %s, and not here", rec.Name, strings.Join(others, ", "))
}

// alias looks whether a name leads to an address at all.
func (p *Plan) alias(ctx context.Context, r *Report, rec Record) {
	if addrs, err := p.addresses(ctx, rec.Name); err != nil || len(addrs) == 0 {
		r.Warn(fmt.Sprintf("set the record: %s. IN CNAME %s", rec.Name, rec.Value), "%s has no address: %s", rec.Name, rec.Why)
	} else {
		r.OK("%s is %s", rec.Name, addrs[0])
	}
}

// dnsError is what an operator needs to know of it.
func dnsError(err error) string {
	var d *net.DNSError
	switch {
	case err == nil:
		return "no record"
	case errors.As(err, &d) && d.IsNotFound:
		return "no such record"
	case errors.As(err, &d) && d.IsTimeout:
		return "the DNS server " + d.Server + " does not answer"
	}
	return err.Error()
}
