package udpio

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func (p *Processors) holds() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// fixedProcessors never adds one.
func fixedProcessors() *Processors {
	p := NewProcessors()
	p.fixed = true
	return p
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	each := time.NewTicker(time.Millisecond)
	defer each.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-each.C {
		if time.Now().After(deadline) {
			t.Fatal("not seen: ", what)
		}
	}
}

// A loop to which packets come one at a time waits for them in the kernel, goes back to the poller when none come any more, and hears packets, and its end, in
// both.
func TestLoopWaitsInTheKernel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	procs := fixedProcessors()
	l, err := NewLoop(procs)
	if err != nil {
		t.Fatal(err)
	}
	l.vigil.need = 1 // other tests want the CPUs too
	s := open(t, l, "127.0.0.1:0", SockOptions{Batch: 8})
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			got, err := l.Read()
			if err != nil {
				return
			}
			for _, d := range got {
				_ = s.WriteTo(d.Data, d.From)
			}
		}
	}()
	peer, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	r := peer.NewReader()
	echo := func() {
		if err := peer.WriteTo([]byte("one"), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if pkts, err := r.Read(); err != nil || len(pkts) != 1 || string(pkts[0].Data) != "one" {
			t.Fatal(pkts, err)
		}
	}
	hasten := func() {
		for deadline := time.Now().Add(20 * time.Second); procs.holds() == 0; echo() {
			if time.Now().After(deadline) {
				t.Fatal("it never waits in the kernel")
			}
		}
	}
	for range 2 {
		hasten()
		eventually(t, "the poller", func() bool { return procs.holds() == 0 })
		echo()
	}
	hasten()
	_ = l.Close()
	<-over
	if procs.holds() != 0 {
		t.Error("a closed loop holds a processor")
	}
}

// A processor is added when all others are held, and goes when nobody needs it; not where the operator has said how many there are.
func TestProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	n := runtime.GOMAXPROCS(0)
	p := NewProcessors()
	held := 0
	eventually(t, "a further processor", func() bool {
		for p.take() {
			held++
		}
		return held == n
	})
	if runtime.GOMAXPROCS(0) != n+1 || p.take() {
		t.Fatalf("%d processors, %d held, at first %d", runtime.GOMAXPROCS(0), held, n)
	}
	for range held {
		p.giveBack()
	}
	if p.idle == nil {
		t.Error("it would stay for ever")
	}
	if !p.take() || p.idle != nil {
		t.Error("it would go although it is needed")
	}
	p.remove()
	if runtime.GOMAXPROCS(0) != n+1 {
		t.Error("it went although it is needed")
	}
	p.giveBack()
	p.remove()
	p.wg.Wait()
	if got := runtime.GOMAXPROCS(0); got != n {
		t.Errorf("%d processors, at first %d", got, n)
	}
	for p.take() {
	}
	p.Close()
	if got := runtime.GOMAXPROCS(0); got != n || p.take() {
		t.Errorf("%d processors after the end, at first %d", got, n)
	}

	t.Setenv("GOMAXPROCS", "1")
	runtime.GOMAXPROCS(1)
	if p = NewProcessors(); p.take() || p.added {
		t.Error("the operator wants one")
	}
	p.Close()
}

// The alarm ends a spell in which nothing comes, also when it rings after that.
func TestVigilAlarm(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		t.Fatal(os.NewSyscallError("epoll_create1", err))
	}
	defer unix.Close(ep)
	procs := fixedProcessors()
	var v vigil
	if err := v.open(ep, procs); err != nil {
		t.Fatal(err)
	}
	defer v.close()
	spells := 0
	eventually(t, "a wait in the kernel", func() bool {
		for range 2 * brisk {
			before := v.since
			v.inKernel()
			if v.since != before {
				spells++
			}
		}
		return v.on
	})
	if spells < steady {
		t.Errorf("it was in a hurry: %d spells", spells)
	}
	events := make([]unix.EpollEvent, 1)
	n, err := -1, error(unix.EINTR)
	for err == unix.EINTR { // by a signal, of the runtime's for example
		n, err = unix.EpollWait(ep, events, int(time.Minute.Milliseconds()))
	}
	if n != 1 || !v.rang(events[0].Fd) || v.on || procs.holds() != 0 {
		t.Fatalf("%d events (%v), in the kernel %v, %d held", n, err, v.on, procs.holds())
	}
	if !v.rang(events[0].Fd) || procs.holds() != 0 {
		t.Error("gave back what it did not hold")
	}
}

// The runtime gets back the processor of who waits in the kernel, also when nothing comes: the collector does not wait for the alarm. Then nobody waits so for a
// moment.
func TestVigilIsDisturbed(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		t.Fatal(os.NewSyscallError("epoll_create1", err))
	}
	defer unix.Close(ep)
	v := vigil{procs: fixedProcessors()}
	woken := make(chan int)
	go func() { woken <- v.wait(ep, make([]unix.EpollEvent, 1)) }()
	eventually(t, "the end of a wait that nothing else ends", func() bool {
		runtime.GC()
		select {
		case n := <-woken:
			return n == 0
		default:
			return false
		}
	})
	if v.procs.restFrom.Load() < 0 {
		t.Error("the monitor would not come to rest")
	}
}

// Rests are short, and not too many.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProcessors()
		for _, step := range []struct {
			after     time.Duration
			disturbed bool
			want      bool
		}{{0, false, false}, {0, true, true}, {rest - 1, false, true}, {1, false, false}, {0, true, false}, {restEvery - rest - 1, true, false}, {1, true, true}, {rest, false, false}} {
			time.Sleep(step.after)
			if step.disturbed {
				p.disturbed()
			}
			if p.rests() != step.want {
				t.Errorf("%v, want %v", !step.want, step)
			}
		}
	})
}
