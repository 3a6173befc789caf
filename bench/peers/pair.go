package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"konzil/bench/measure"
)

// pairDomains are those of two servers that exchange messages. Resolvers know some top-level names as special (test, local) and would not ask for them.
func pairDomains() []string { return []string{"one.bench", "two.bench"} }

// member is what a server of a pair is told.
type member struct {
	domain string
	port   int    // for streams of servers, in SRV records (RFC 6120 §3.2.1)
	resolv string // a resolv.conf with the pair's DNS server
}

// StartPair starts two servers of a kind that find each other by the names of a DNS server that only they ask: each has a mount namespace with an
// /etc/resolv.conf of its own. The target is the first, with the processes of both; Target.Other is the second.
func StartPair(ctx context.Context, name string, o Options) (_ *measure.Target, err error) {
	if err := pairMissing(); err != nil {
		return nil, err
	}
	var started []func() error
	stop := func() error {
		var errs []error
		for i := len(started) - 1; i >= 0; i-- {
			errs = append(errs, started[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	members, stopNames, err := startNames(o)
	if err != nil {
		return nil, err
	}
	started = append(started, stopNames)
	var both []*measure.Target
	for i := range members {
		o.pair = &members[i]
		t, err := Start(ctx, name, o)
		if err != nil {
			return nil, err
		}
		started = append(started, t.Stop)
		both = append(both, t)
	}
	first := *both[0]
	first.Other = both[1]
	first.PIDs = append(first.PIDs[:len(first.PIDs):len(first.PIDs)], both[1].PIDs...)
	first.Stop = stop
	return &first, nil
}

// pairMissing says why two servers cannot find each other here.
func pairMissing() error {
	if os.Getuid() != 0 {
		return fmt.Errorf("peers: what two servers find each other by, a mount namespace, %w: it needs root", ErrMissing)
	}
	for _, p := range []string{"dnsmasq", "unshare", "mount"} {
		if _, err := program(p); err != nil {
			return fmt.Errorf("peers: %w; to get it: apt-get install dnsmasq-base util-linux mount", err)
		}
	}
	return nil
}

// startNames starts the DNS server of a pair, on an address that follows from our process id.
func startNames(o Options) (members []member, stop func() error, err error) {
	bin, err := program("dnsmasq")
	if err != nil {
		return nil, nil, err
	}
	ports, err := freePorts(len(pairDomains()))
	if err != nil {
		return nil, nil, err
	}
	if err := o.prepare("names"); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(o.Dir))
		}
	}()
	addr := fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	if err := o.write("resolv.conf", "nameserver "+addr+"\n"); err != nil {
		return nil, nil, err
	}
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/bench/", "--listen-address=" + addr, "--bind-interfaces",
		"--pid-file=", "--user=root"}
	for i, d := range pairDomains() {
		members = append(members, member{d, ports[i], o.path("resolv.conf")})
		args = append(args, "--address=/"+d+"/127.0.0.1", "--srv-host=_xmpp-server._tcp."+d+","+d+","+strconv.Itoa(ports[i]))
	}
	p, err := o.run(exec.Command(bin, args...))
	if err != nil {
		return nil, nil, err
	}
	return members, func() error { return errors.Join(p.stop(), os.RemoveAll(o.Dir)) }, nil
}

// apart makes a command one that sees the pair's names.
func (m *member) apart(cmd *exec.Cmd) (*exec.Cmd, error) {
	real, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, m.resolv, real, cmd.Path}, cmd.Args[1:]...)
	out := exec.Command("unshare", args...)
	out.Env, out.Dir = cmd.Env, cmd.Dir
	return out, nil
}
