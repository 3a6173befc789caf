package xmpp

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"konzil/internal/await"
)

// TestDropped: connections that end or stand still anywhere before the login leave nothing behind (CVE-2021-32918, CVE-2026-43506).
func TestDropped(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.NegotiationTimeout = 300 * time.Millisecond })
	raw := func(addr, say string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, say)
		return c
	}
	ways := []func() net.Conn{
		func() net.Conn { return raw(r.tcp, "") },
		func() net.Conn { return raw(r.tls, "\x16\x03\x01\x02\x00\x01") }, // the beginning of a ClientHello
		func() net.Conn { return raw(r.tcp, "<stream:stream xmlns='jabber:client' to='x.test'") },
		func() net.Conn {
			p := r.dial("starttls", r.tcp)
			p.header("x.test")
			p.send("<starttls xmlns='%s'/>", nsTLS)
			return p.conn
		},
		func() net.Conn {
			p := r.dial("failed", r.tls)
			p.header("x.test")
			p.send("<auth xmlns='%s' mechanism='SCRAM-SHA-256'>biwsbj1hbGljZSxyPXg=</auth>", nsSASL)
			p.expect("<challenge")
			return p.conn
		},
	}
	round := func() {
		for i, way := range ways {
			kept, cut := way(), way()
			if err := cut.Close(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { kept.Close() })
			if _, secure := kept.(*tls.Conn); !secure { // until the server's timeout
				_ = kept.SetReadDeadline(time.Now().Add(patience))
				for b := make([]byte, 1024); ; {
					if _, err := kept.Read(b); err != nil {
						if ne, ok := err.(net.Error); ok && ne.Timeout() {
							t.Fatalf("way %d stays open", i)
						}
						break
					}
				}
			}
			kept.Close()
		}
		await.True(t, "none is pending", func() bool { return r.s.Counters()["streams_pending"] == 0 })
	}
	measure := func() (goroutines int, heap uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	round() // pools are filled
	before, heap := measure()
	for range 2 {
		round()
	}
	for range 300 {
		raw(r.tcp, "<stream:stream").Close()
	}
	await.True(t, "none is pending", func() bool { return r.s.Counters()["streams_pending"] == 0 })
	await.True(t, "no goroutine is left", func() bool { n, _ := measure(); return n <= before })
	if _, now := measure(); now > heap+4<<20 {
		t.Errorf("%d KiB of memory are left", (now-heap)>>10)
	}
}

// TestConnectionStorm: people go on talking while strangers connect as fast as they can.
func TestConnectionStorm(t *testing.T) {
	const messages, late = 300, time.Second
	r := newRig(t, func(c *Config) { c.Limits.PendingPerPeer = 20 })
	alice, bob := r.user("alice", "a"), r.user("bob", "b")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := net.Dial("tcp", r.tcp); err == nil {
					fmt.Fprint(c, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x.test' version='1.0'>")
					_ = c.(*net.TCPConn).SetLinger(0)
					c.Close()
				}
			}
		})
	}
	var took []time.Duration
	for n := range messages {
		start := time.Now()
		alice.send("<message to='bob@x.test' type='chat' id='%d'/>", n)
		bob.expect(fmt.Sprintf("id='%d'", n))
		took = append(took, time.Since(start))
	}
	close(stop)
	wg.Wait()
	slices.Sort(took)
	if p99 := took[messages*99/100]; p99 > late {
		t.Errorf("a message of a hundred took %v", p99)
	}
}
