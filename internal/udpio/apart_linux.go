package udpio

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SendApart gives each of the sockets, all those of one address, a second one that only sends. The runtime's poller watches the first one also for room in its
// buffer, and each datagram of it that is received makes some: a thread that has sent finds that when it goes to wait, and looks again for nothing. The second one is
// in no poller; when it has no room the first one sends, and waits. Nothing comes to it: a program of the port's group (SO_ATTACH_REUSEPORT_CBPF, socket(7)) names
// receivers alone. They are not connected, for queues such as fq take all that a connected one sends for one flow.
//
// The sockets must have been opened with ReusePort, and no others for their address. Where the kernel refuses, the first ones go on sending, and the error says why.
func SendApart(conns []*Conn) error {
	if len(conns) == 0 {
		return nil
	}
	err := divide(conns)
	// A port that the kernel chose for one socket has no group yet; then nobody sends to it yet, either.
	late := errors.Is(err, unix.EINVAL)
	if err != nil && !late {
		return err
	}
	var out []*handle
	for _, c := range conns {
		var h *handle
		if h, err = c.sender(); err != nil {
			break
		}
		out = append(out, h)
	}
	if err == nil && late {
		err = divide(conns)
	}
	if err != nil {
		for _, h := range out {
			_ = unix.Close(h.fd)
		}
		return err
	}
	for i, c := range conns {
		c.out = out[i]
	}
	return nil
}

// divide attaches the program that spreads what comes over the sockets.
func divide(conns []*Conn) (err error) {
	prog := receivers(len(conns), conns[0].v6)
	if e := conns[0].raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	}); e != nil {
		return e
	}
	return os.NewSyscallError("setsockopt", err)
}

// receivers is the program: it gives the place in the group, which is the order of binding, of the socket that gets a datagram. Those that receive are the first n. A
// flow has always the same one, by a hash of its source with secret factors. Where a word is not to be had the kernel ends the program with 0.
func receivers(n int, v6 bool) []unix.SockFilter {
	if n == 1 {
		return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	}
	const header = 1<<32 - 0x100000 // SKF_NET_OFF: from the beginning of the IP header
	addr, port := uint32(header+12), uint32(header+20)
	if v6 {
		addr, port = header+8+12, header+40
	}
	var secret [8]byte
	_, _ = rand.Read(secret[:]) // never fails
	one, two := binary.NativeEndian.Uint32(secret[:])|1, binary.NativeEndian.Uint32(secret[4:])|1
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: addr},
		{Code: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, K: one},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: port},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		{Code: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, K: two},
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 16},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
}

// sender opens a socket that has the address of c and the options that concern sending.
func (c *Conn) sender() (_ *handle, err error) {
	fd, err := datagramSocket(c.v6)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = reusePort(fd); err != nil {
		return nil, err
	}
	if c.writeBuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, c.writeBuf)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0) // the least that the kernel allows: nothing comes
	if c.df.Load() && !forbidFragments(fd, true) {
		return nil, errors.New("udpio: a second socket cannot forbid fragments")
	}
	if err = unix.Bind(fd, sockaddr(c.local)); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return &handle{fd: fd}, nil
}

// transmit calls send with a socket until it says that it is done; it says false when the socket has no room.
func (c *Conn) transmit(send func(fd uintptr) bool) error {
	if c.out != nil && c.out.enter() {
		done := send(uintptr(c.out.fd))
		c.out.leave()
		if done {
			return nil
		}
	}
	return c.raw.Write(send)
}

// closeSender closes what SendApart opened.
func (c *Conn) closeSender() {
	if c.out != nil && c.out.shut() {
		c.out.release()
	}
}

// narrow lets the kernel fragment again, for the path to somebody is narrower than what is sent; false when it does so already.
func (c *Conn) narrow() bool {
	if !c.df.Swap(false) {
		return false
	}
	ok := dontFragment(c.raw, false)
	if c.out != nil && c.out.enter() {
		ok = forbidFragments(c.out.fd, false) && ok
		c.out.leave()
	}
	return ok
}
