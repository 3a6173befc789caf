package measure

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// NullRelay measures the path without a server: packets go to a process that does nothing but send them back, over the same kind of
// sockets, with the same wake-ups. What is left of a server's latency after taking this off is the server's own.
type NullRelay struct {
	Network string        // udp or tcp
	Size    int           // bytes of a packet
	Rate    int           // packets per second; 0 is nullRate
	For     time.Duration // how long to measure; 0 is nullTime
	Command []string      // a program that runs EchoMain, so that the relay is a process of its own; nil runs it in this process
	// Start starts the command, for example pinned to the server's CPUs; nil is exec.Cmd.Start.
	Start func(*exec.Cmd) error
}

const (
	nullRate    = 2000             // packets per second: enough for a p99.9 in a second, far from loading anything
	nullTime    = time.Second      // default of For
	nullWait    = time.Second      // for the last packets
	nullMinimum = 8                // bytes: the time of sending
	echoBuffer  = 64 << 10         // bytes: the largest datagram
	echoDial    = 10 * time.Second // for the relay to come up
)

// Measure sends packets through the relay.
func (n NullRelay) Measure(ctx context.Context) (*hdrhistogram.Histogram, error) {
	addr, stop, err := n.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure: null relay: %w", err)
	}
	defer stop()
	conn, err := net.DialTimeout(n.Network, addr, echoDial)
	if err != nil {
		return nil, fmt.Errorf("measure: null relay: %w", err)
	}
	defer conn.Close()
	return n.drive(ctx, conn)
}

// drive sends in this goroutine and receives in another.
func (n NullRelay) drive(ctx context.Context, conn net.Conn) (*hdrhistogram.Histogram, error) {
	rate, size := n.Rate, max(n.Size, nullMinimum)
	if rate == 0 {
		rate = nullRate
	}
	last := n.For
	if last == 0 {
		last = nullTime
	}
	total := int(float64(rate) * last.Seconds())
	base := time.Now()
	h := NewHistogram()
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, size)
		for range total {
			if _, err := io.ReadFull(conn, b); err != nil { // a datagram fills b, as all have one size
				return
			}
			_ = h.RecordValue(max(int64(time.Since(base))-int64(binary.BigEndian.Uint64(b)), 1)) // over 60 s is not recorded; the deadline is far below
		}
	})
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(base) })
	defer stop()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	b := make([]byte, size)
	var err error
	for range total {
		<-tick.C
		binary.BigEndian.PutUint64(b, uint64(time.Since(base)))
		if _, err = conn.Write(b); err != nil {
			break
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(nullWait))
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("measure: null relay: %w", err)
	case h.TotalCount() < int64(total)/2:
		return nil, fmt.Errorf("measure: null relay: %d of %d packets came back", h.TotalCount(), total)
	}
	return h, nil
}

// start runs the relay and gives its address.
func (n NullRelay) start(ctx context.Context) (addr string, stop func(), err error) {
	in, inw := io.Pipe()
	outr, out := io.Pipe()
	var wg sync.WaitGroup
	if n.Command == nil {
		wg.Go(func() { out.CloseWithError(EchoMain(n.Network, in, out)) })
		stop = func() { inw.Close(); outr.Close(); wg.Wait() }
	} else {
		cmd := exec.CommandContext(ctx, n.Command[0], append(n.Command[1:len(n.Command):len(n.Command)], n.Network)...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return "", nil, err
		}
		cmd.Stdout = out
		run := n.Start
		if run == nil {
			run = (*exec.Cmd).Start
		}
		if err := run(cmd); err != nil {
			return "", nil, err
		}
		wg.Go(func() { out.CloseWithError(errors.Join(cmd.Wait(), io.EOF)) })
		stop = func() { stdin.Close(); outr.Close(); wg.Wait() }
	}
	line, err := bufio.NewReader(outr).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, err
	}
	return strings.TrimSpace(line), stop, nil
}

// EchoMain is the relay's program: it writes its address as a line to out, and sends back what comes until in ends.
func EchoMain(network string, in io.Reader, out io.Writer) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	switch network {
	case "udp":
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer pc.Close()
		wg.Go(func() { echoUDP(pc.(*net.UDPConn)) })
		fmt.Fprintln(out, pc.LocalAddr())
	case "tcp":
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		wg.Go(func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, struct{ io.Reader }{conn}) // without splice: a server reads and writes, too
		})
		fmt.Fprintln(out, ln.Addr())
	default:
		return fmt.Errorf("measure: no null relay over %q", network)
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

func echoUDP(c *net.UDPConn) {
	b := make([]byte, echoBuffer)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort(b[:n], from)
	}
}
