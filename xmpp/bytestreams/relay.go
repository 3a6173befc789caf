package bytestreams

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// chunk is what is moved between two looks at clock and limits, bytes. A chunk waits for nothing: what has come is passed on at once.
const chunk = 256 << 10

// relay moves bytes both ways until both ends are done, one is broken, or both are silent for too long.
func (p *Proxy) relay(a, b net.Conn, acc *account) {
	var last atomic.Int64 // Unix nanoseconds of the last byte
	last.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	var both sync.WaitGroup
	for i, way := range [][2]net.Conn{{a, b}, {b, a}} {
		limits := []*rate.Limiter{limiter(p.cfg.StreamRate), acc.limits[i]}
		both.Go(func() {
			if p.move(ctx, way[0], way[1], limits, &last) {
				return
			}
			cancel()
			_ = a.Close() // wakes the other one
			_ = b.Close()
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}

// move copies src to dst until src ends (true) or something is wrong. The kernel splices between two TCP sockets.
func (p *Proxy) move(ctx context.Context, src, dst net.Conn, limits []*rate.Limiter, last *atomic.Int64) (whole bool) {
	for {
		began := time.Now()
		_ = src.SetReadDeadline(began.Add(p.cfg.lookInterval))
		_ = dst.SetWriteDeadline(began.Add(p.cfg.idle))
		n, err := io.CopyN(dst, src, chunk)
		now := time.Now()
		if n > 0 {
			p.count.bytes.Add(uint64(n))
			last.Store(now.UnixNano())
			for _, l := range limits {
				if l != nil && l.WaitN(ctx, int(n)) != nil { // ctx is over
					return false
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && now.Sub(began) < p.cfg.idle: // of reading: nothing was taken that is not passed on
			if now.Sub(time.Unix(0, last.Load())) >= p.cfg.idle {
				p.count.idle.Add(1)
				return false
			}
		case err == io.EOF: // of CopyN itself
			if c, ok := dst.(interface{ CloseWrite() error }); ok {
				return c.CloseWrite() == nil
			}
			return false
		default:
			return false
		}
	}
}
