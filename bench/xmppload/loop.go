package xmppload

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"konzil/bench/clock"
)

// loop is the one goroutine on which all adopted clients live: it waits for their sockets (epoll, level-triggered), decrypts what has come into one
// shared buffer, gives elements to the clients' handlers, and writes what those want to send, one TLS record for each stanza and one system
// call for each client. A generator that had a goroutine, a poller and buffers for each client would cost more than a good server.
type loop struct {
	epfd    int
	wake    [2]int // pipe: other goroutines have something for the loop
	cipher  []byte // read from sockets
	plain   []byte // decrypted
	el      elem   // at hand; not on the stack, from where each would escape
	dirty   []*client
	byFD    map[int32]*client
	tick    func(now time.Time) // the running scenario's, called at least each tickTime
	nap     time.Duration       // between two looks at the sockets; 0: as soon as one has something
	slept   time.Time           // the end of the last nap
	sleeper clock.Sleeper

	mu    sync.Mutex // guards calls
	calls []func()

	done chan struct{}
	quit bool

	read, written uint64 // bytes on the sockets
}

const (
	// tickTime bounds how long the loop sleeps while a scenario runs.
	tickTime = time.Millisecond
	// closedNap is the nap of closed loops, whose latency is that of their own queue: a server has more under way than it does in that time, and
	// pays for waking nobody up.
	closedNap = 2 * time.Millisecond
)

// newLoop starts a loop that naps by c, when that is there.
func newLoop(c *clock.Clock) (*loop, error) {
	l := &loop{sleeper: c.Sleeper(), cipher: make([]byte, 256<<10), plain: make([]byte, 64<<10), byFD: map[int32]*client{}, done: make(chan struct{})}
	var err error
	if l.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if err = syscall.Pipe2(l.wake[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err == nil {
		err = syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, l.wake[0], &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(l.wake[0])})
	}
	if err != nil {
		_ = syscall.Close(l.epfd)
		return nil, err
	}
	go l.run()
	return l, nil
}

// do runs f on the loop and waits for it.
func (l *loop) do(f func()) {
	ran := make(chan struct{})
	l.mu.Lock()
	l.calls = append(l.calls, func() { f(); close(ran) })
	l.mu.Unlock()
	_, _ = syscall.Write(l.wake[1], []byte{1})
	select {
	case <-ran:
	case <-l.done:
	}
}

// adopt makes c the loop's; handle gets each element from then on.
func (l *loop) adopt(c *client, handle func(c *client, el *elem, now time.Time)) error {
	var err error
	l.do(func() {
		c.handle = handle
		if err = c.sock.adopt(); err != nil {
			return
		}
		l.byFD[int32(c.sock.fd)] = c
		err = syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, c.sock.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(c.sock.fd)})
		for _, e := range c.got {
			l.el = elemOf([]byte(e))
			c.handle(c, &l.el, time.Now())
		}
		c.got = nil
		l.feed(c, c.sock.take(), time.Now()) // what was read already, here and by TLS
	})
	return err
}

// begin has tick called while a scenario runs; closed says that the load waits for what it sent, so that the loop may nap. It runs on the loop.
func (l *loop) begin(tick func(time.Time), closed bool) {
	l.tick = tick
	if closed {
		l.nap = closedNap
	}
	for _, c := range l.byFD {
		c.sock.ackLate()
	}
}

// finish ends what begin began.
func (l *loop) finish() { l.tick, l.nap = nil, 0 }

// close ends the loop and all its clients.
func (l *loop) close() {
	l.do(func() { l.quit = true })
	<-l.done
}

func (l *loop) run() {
	defer func() {
		for _, c := range l.byFD {
			_ = c.sock.Close()
		}
		_ = syscall.Close(l.epfd)
		_ = syscall.Close(l.wake[0])
		_ = syscall.Close(l.wake[1])
		close(l.done)
	}()
	events := make([]syscall.EpollEvent, 512)
	for !l.quit {
		n, err := l.poll(events, l.rest())
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return
		}
		for i := range max(n, 0) {
			e := &events[i]
			if int(e.Fd) == l.wake[0] {
				l.woken()
				continue
			}
			c := l.byFD[e.Fd]
			if c == nil {
				continue
			}
			if e.Events&syscall.EPOLLOUT != 0 {
				l.mark(c)
			}
			if e.Events&^syscall.EPOLLOUT != 0 {
				l.readable(c)
			}
		}
		if l.tick != nil {
			l.tick(time.Now())
		}
		l.flush()
	}
}

// rest lets others run, naps when that is wanted, and tells how long epoll_wait may take, ms.
func (l *loop) rest() (wait int) {
	switch {
	case l.tick == nil:
		return -1
	case l.nap == 0 || !l.sleeper.On():
		return int(tickTime / time.Millisecond)
	}
	l.sleeper.Yield(time.Now().UnixNano())
	now := time.Now()
	if d := l.slept.Add(l.nap).Sub(now); d > 0 {
		l.sleeper.Until(now.Add(d).UnixNano())
		now = now.Add(d)
	}
	l.slept = now
	return 0
}

// poll is epoll_wait. A wait that is bounded by tickTime does not tell Go's scheduler, whose watchdog would otherwise stay awake for us: that was a fifth
// of the generator's CPU time.
func (l *loop) poll(events []syscall.EpollEvent, wait int) (int, error) {
	if wait < 0 {
		return syscall.EpollWait(l.epfd, events, wait)
	}
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(wait), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// readNow and writeNow are system calls that do not block. Those of sockets know sooner than read(2) and write(2) what they have at hand.
func readNow(fd int, b []byte) (int, error) {
	return now(syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT, 0, 0))
}

func writeNow(fd int, b []byte) (int, error) {
	return now(syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0))
}

func now(n, _ uintptr, e syscall.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func (l *loop) woken() {
	var b [64]byte
	_, _ = syscall.Read(l.wake[0], b[:])
	l.mu.Lock()
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// readable takes what a socket has.
func (l *loop) readable(c *client) {
	n, err := readNow(c.sock.fd, l.cipher)
	if n <= 0 {
		if err != nil && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)) {
			return
		}
		if err == nil {
			err = io.EOF
		}
		l.end(c, err)
		return
	}
	l.read += uint64(n)
	l.feed(c, l.cipher[:n], time.Now())
}

// feed decrypts and cuts.
func (l *loop) feed(c *client, b []byte, now time.Time) {
	cut := func(plain []byte) error { return c.cut(plain, now) }
	if r, ok := c.top.(*records); ok {
		if err := r.each(b, cut); err != nil {
			l.end(c, err)
		}
		return
	}
	c.sock.in = b
	for {
		n, err := c.top.Read(l.plain)
		if n > 0 {
			if err := cut(l.plain[:n]); err != nil {
				l.end(c, err)
				return
			}
		}
		if err != nil {
			if err != (again{}) { // nobody wraps it
				l.end(c, err)
			}
			return
		}
	}
}

// cut takes what the server says, as it comes.
func (c *client) cut(plain []byte, now time.Time) error {
	var known func(b []byte) int
	if c.known != nil {
		known = func(b []byte) int { return c.known(c, b, now) }
	}
	return c.sc.feed(plain, known, func(raw []byte) { c.element(raw, now) })
}

// element looks for the end of the stream before the scenario gets what came.
func (c *client) element(raw []byte, now time.Time) {
	if raw[1] == 's' || raw[1] == '/' || raw[1] == 'c' { // stream:error, </stream:stream>, close
		if n := string(name(raw)); n == "stream:error" || raw[1] == '/' || n == "close" {
			c.w.failed(fmt.Errorf("%s: the server ended the stream: %.200s", c.jid, raw))
			return
		}
	}
	if c.handle != nil {
		l := c.w.loop
		l.el = elemOf(raw)
		c.handle(c, &l.el, now)
	}
}

func (l *loop) end(c *client, err error) {
	if c.ended != nil {
		return
	}
	c.ended = err
	delete(l.byFD, int32(c.sock.fd))
	_ = c.sock.Close()
	c.w.failed(fmt.Errorf("%s: connection lost: %w", c.jid, err))
}

// mark notes that c has something to write. It runs on the loop.
func (l *loop) mark(c *client) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// flush writes for all who have something.
func (l *loop) flush() {
	for i, c := range l.dirty {
		l.dirty[i] = nil
		c.dirty = false
		if c.ended != nil || len(c.sock.out) == 0 {
			continue
		}
		n, err := writeNow(c.sock.fd, c.sock.out)
		if n > 0 {
			l.written += uint64(n)
			c.sock.out = c.sock.out[:copy(c.sock.out, c.sock.out[n:])]
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
			l.end(c, err)
			continue
		}
		l.watch(c, len(c.sock.out) > 0)
	}
	l.dirty = l.dirty[:0]
}

// watch asks for the socket's room as long as something is left.
func (l *loop) watch(c *client, left bool) {
	if left == c.stuck {
		return
	}
	c.stuck = left
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(c.sock.fd)}
	if left {
		ev.Events |= syscall.EPOLLOUT
	}
	_ = syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_MOD, c.sock.fd, &ev)
}
