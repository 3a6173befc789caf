package measure_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

// pings is a load: one datagram at a time to an echo server.
type pings struct {
	conn            net.Conn
	addr            string
	sent, delivered uint64
}

func (p *pings) Prepare(context.Context, func(string)) (err error) {
	p.conn, err = net.Dial("udp", p.addr)
	return err
}

func (p *pings) Measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	began := time.Now()
	latency := measure.NewHistogram()
	s := &measure.Sample{Unit: "packets", Latency: map[string]*hdrhistogram.Histogram{"ping": latency}}
	b := make([]byte, 64)
	for time.Since(began) < d && ctx.Err() == nil {
		at := time.Now()
		if _, err := p.conn.Write(b); err != nil {
			return nil, err
		}
		s.Sent, s.Expected = s.Sent+1, s.Expected+1
		_ = p.conn.SetReadDeadline(at.Add(time.Second))
		if n, err := p.conn.Read(b); err == nil {
			s.Delivered, s.Verified, s.Bytes = s.Delivered+1, s.Verified+1, s.Bytes+uint64(n)
			_ = latency.RecordValue(int64(time.Since(at)))
		}
	}
	s.Elapsed = time.Since(began)
	return s, ctx.Err()
}

func (p *pings) Live() (sent, delivered uint64) { return p.sent, p.delivered }
func (p *pings) Close() error                   { return p.conn.Close() }

// A load of one's own, against a server that this program starts.
func ExampleRun() {
	start := func(context.Context, int) (*measure.Target, error) {
		server, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		go func() {
			b := make([]byte, 64)
			for {
				n, from, err := server.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = server.WriteTo(b[:n], from)
			}
		}()
		return &measure.Target{Name: "echo", Version: "1", Addr: map[string]string{"echo": server.LocalAddr().String()}, Stop: server.Close}, nil
	}
	gates := measure.DefaultGates()
	gates.Generator = 1 // server and generator are one process here
	r, err := measure.Run(context.Background(), measure.Config{
		Scenario: "ping", Rounds: 3, Duration: 100 * time.Millisecond, Fresh: true, Gates: gates,
		Servers: []measure.Server{{Name: "echo", Start: start}},
		Plan: &measure.Plan{Load: "one ping at a time", Unit: "packets", ScaleName: "senders", Scale: 1, Make: func(t *measure.Target, _ int) (measure.Load, error) {
			return &pings{addr: t.Addr["echo"]}, nil
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	s := r.Servers[0]
	fmt.Println(len(r.Rounds), "rounds, delivery", s.Figures[measure.Delivery].Median, "failed", len(r.Failed), "latency is measured", s.Latency["ping"].TotalCount() > 0)
	// Output: 3 rounds, delivery 1 failed 0 latency is measured true
}
