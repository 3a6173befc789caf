package browsertest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"konzil/sfu/linksim"
)

// farNet is a network namespace whose only way out is a path that we make worse: a TUN device on either side, and two linksim.Links
// between them in real time. It needs no netem in the kernel, and each packet's fate is that of the simulations.
type farNet struct {
	name, dev string // of the namespace, and of the device that leads there
	host, far netip.Addr
	down, up  *pipe
}

// newFarNet makes a namespace for the length of the test. It skips where it may not.
func newFarNet(t *testing.T) *farNet {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("no TUN devices here")
	}
	dev := fmt.Sprintf("kz%d", os.Getpid()%100000)
	n := &farNet{name: fmt.Sprintf("konzil-%d", os.Getpid()), dev: dev, host: netip.MustParseAddr("198.18.77.1"), far: netip.MustParseAddr("198.18.77.2")}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v %s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", n.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.name).Run() })
	host := openTUN(t, dev)
	far := n.openInside(t, "tun0")
	ip("addr", "add", n.host.String()+"/30", "dev", dev)
	ip("link", "set", dev, "up", "mtu", "1500")
	ip("-n", n.name, "addr", "add", n.far.String()+"/30", "dev", "tun0")
	ip("-n", n.name, "link", "set", "tun0", "up", "mtu", "1500")
	ip("-n", n.name, "link", "set", "lo", "up")
	epoch := time.Now()
	n.down, n.up = newPipe(host, far, epoch, 1), newPipe(far, host, epoch, 2)
	var wg sync.WaitGroup
	for _, p := range []*pipe{n.down, n.up} {
		wg.Go(p.read)
		wg.Go(p.write)
	}
	t.Cleanup(func() {
		_ = host.Close()
		_ = far.Close()
		n.down.stop()
		n.up.stop()
		wg.Wait()
	})
	return n
}

// openTUN makes a TUN device in the network namespace of this thread.
func openTUN(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal("TUNSETIFF:", err)
	}
	return os.NewFile(uintptr(fd), name) // non-blocking, so Close ends a Read
}

// openInside makes a TUN device in the namespace.
func (n *farNet) openInside(t *testing.T, name string) *os.File {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ns, err := os.Open(filepath.Join("/var/run/netns", n.name))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal("setns:", err)
	}
	defer func() {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread would go on in a namespace that is not its own
		}
	}()
	return openTUN(t, name)
}

// command writes a script that runs a program inside.
func (n *farNet) command(t *testing.T, program string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inside")
	script := fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", n.name, program)
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// set changes both directions.
func (n *farNet) set(f func(l *linksim.Link)) {
	for _, p := range []*pipe{n.down, n.up} {
		p.mu.Lock()
		p.link.Next(p.now())
		f(&p.link)
		p.mu.Unlock()
		p.poke()
	}
}

// pipe carries packets from one device to the other through a link, in real time.
type pipe struct {
	from, to *os.File
	epoch    time.Time
	wake     chan struct{}
	done     chan struct{}

	mu    sync.Mutex // guards the rest
	link  linksim.Link
	seq   uint64
	inAir map[uint64][]byte
}

func newPipe(from, to *os.File, epoch time.Time, seed uint64) *pipe {
	return &pipe{
		from: from, to: to, epoch: epoch, wake: make(chan struct{}, 1), done: make(chan struct{}), inAir: map[uint64][]byte{},
		link: linksim.Link{Rand: rand.New(rand.NewPCG(seed, 7))},
	}
}

func (p *pipe) now() int64 { return int64(time.Since(p.epoch)) }
func (p *pipe) stop()      { close(p.done) }

func (p *pipe) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pipe) read() {
	buf := make([]byte, 1<<16)
	for {
		k, err := p.from.Read(buf)
		if err != nil {
			return
		}
		if k < 20 || buf[0]>>4 != 4 {
			continue
		}
		p.mu.Lock()
		p.seq++
		if p.link.Push(p.now(), int(binary.BigEndian.Uint16(buf[2:])), p.seq) {
			p.inAir[p.seq] = append([]byte(nil), buf[:k]...)
		}
		p.mu.Unlock()
		p.poke()
	}
}

func (p *pipe) write() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		p.mu.Lock()
		now := p.now()
		var out [][]byte
		for {
			tag, _, ok := p.link.Pop(now)
			if !ok {
				break
			}
			out = append(out, p.inAir[tag])
			delete(p.inAir, tag)
		}
		next, ok := p.link.Next(now)
		p.mu.Unlock()
		for _, b := range out {
			_, _ = p.to.Write(b)
		}
		wait := time.Hour
		if ok {
			wait = time.Duration(max(next-p.now(), 0))
		}
		t.Reset(wait)
		select {
		case <-p.done:
			return
		case <-p.wake:
		case <-t.C:
		}
	}
}
