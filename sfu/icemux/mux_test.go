package icemux

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type owner struct {
	valid []netip.AddrPort
	heard []netip.AddrPort
}

func (o *owner) Validated(_ int, a netip.AddrPort) { o.valid = append(o.valid, a) }
func (o *owner) Heard(a netip.AddrPort)            { o.heard = append(o.heard, a) }

var (
	local  = netip.MustParseAddrPort("127.0.0.1:10000")
	remote = netip.MustParseAddrPort("127.0.0.2:5000")
	other  = netip.MustParseAddrPort("127.0.0.3:5000")
)

type sent struct {
	local int
	b     []byte
	to    netip.AddrPort
}

func newMux() (*Mux, *[]sent) {
	var out []sent
	return New([]netip.AddrPort{local}, func(l int, b []byte, to netip.AddrPort) {
		out = append(out, sent{l, append([]byte(nil), b...), to})
	}), &out
}

func getConn(t testing.TB, a *Agent, frag string) *Conn {
	t.Helper()
	c, err := a.GetConn(frag, net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Conn)
}

func build(t testing.TB, s ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(s...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestRequestGoesToItsUser(t *testing.T) {
	m, _ := newMux()
	o1, o2 := &owner{}, &owner{}
	c1, c2 := getConn(t, m.Bind(o1), "one"), getConn(t, m.Bind(o2), "two")
	req := build(t, stun.BindingRequest, stun.TransactionID, stun.NewUsername("two:peer"), stun.Fingerprint)
	if r := m.Deliver(0, remote, req); r != Delivered {
		t.Fatalf("result %d", r)
	}
	buf := make([]byte, 1500)
	n, from, err := c2.ReadFromAddrPort(buf)
	if err != nil || from != remote || n != len(req) {
		t.Fatal(n, from, err)
	}
	if len(c1.in) != 0 {
		t.Fatal("the other user got it too")
	}
	if r := m.Deliver(0, remote, build(t, stun.BindingRequest, stun.TransactionID, stun.NewUsername("three:peer"))); r != UnknownUser {
		t.Fatalf("result %d", r)
	}
	if r := m.Deliver(0, remote, build(t, stun.BindingRequest, stun.TransactionID)); r != Malformed {
		t.Fatalf("without USERNAME: %d", r)
	}
	_ = c1.Close()
	_ = c2.Close()
	if m.Users() != 0 {
		t.Fatal("users are left")
	}
	if _, _, err := c2.ReadFromAddrPort(buf); err == nil {
		t.Fatal("read after close")
	}
}

// TestResponseGoesByTransaction has two agents send to the same private address, as clients behind different NATs do.
func TestResponseGoesByTransaction(t *testing.T) {
	m, out := newMux()
	o1, o2 := &owner{}, &owner{}
	c1, c2 := getConn(t, m.Bind(o1), "one"), getConn(t, m.Bind(o2), "two")
	defer func() { _ = c1.Close(); _ = c2.Close() }()
	for _, c := range []*Conn{c1, c2} {
		if _, err := c.WriteToAddrPort(build(t, stun.BindingRequest, stun.TransactionID), remote); err != nil {
			t.Fatal(err)
		}
	}
	resp := &stun.Message{}
	if err := stun.Decode((*out)[1].b, resp); err != nil {
		t.Fatal(err)
	}
	answer := build(t, resp, stun.BindingSuccess)
	if r := m.Deliver(0, remote, answer); r != Delivered {
		t.Fatalf("result %d", r)
	}
	if len(c1.in) != 0 || len(c2.in) != 1 || len(o2.heard) != 1 {
		t.Fatalf("queues %d %d, heard %d", len(c1.in), len(c2.in), len(o2.heard))
	}
	if r := m.Deliver(0, remote, build(t, stun.TransactionID, stun.BindingSuccess)); r != UnknownTransaction {
		t.Fatalf("result %d", r)
	}
}

func TestSuccessValidates(t *testing.T) {
	m, _ := newMux()
	o := &owner{}
	c := getConn(t, m.Bind(o), "one")
	defer func() { _ = c.Close() }()
	_, _ = c.WriteToAddrPort(build(t, stun.TransactionID, stun.BindingRequest), other)
	_, _ = c.WriteToAddrPort(build(t, stun.TransactionID, stun.BindingError), other)
	if len(o.valid) != 0 {
		t.Fatal("a request or an error validated an address")
	}
	_, _ = c.WriteToAddrPort(build(t, stun.TransactionID, stun.BindingSuccess), remote)
	if len(o.valid) != 1 || o.valid[0] != remote {
		t.Fatalf("validated %v", o.valid)
	}
}

func TestQueueIsBounded(t *testing.T) {
	m, _ := newMux()
	c := getConn(t, m.Bind(&owner{}), "one")
	defer func() { _ = c.Close() }()
	req := build(t, stun.BindingRequest, stun.TransactionID, stun.NewUsername("one:peer"))
	for i := range queueLen {
		if r := m.Deliver(0, remote, req); r != Delivered {
			t.Fatalf("message %d: %d", i, r)
		}
	}
	if r := m.Deliver(0, remote, req); r != Overflow {
		t.Fatalf("result %d", r)
	}
}

func TestForeignRemovalIsIgnored(t *testing.T) {
	m, _ := newMux()
	a, b := m.Bind(&owner{}), m.Bind(&owner{})
	c := getConn(t, a, "one")
	defer func() { _ = c.Close() }()
	b.RemoveConnByUfrag("one")
	if m.Users() != 1 {
		t.Fatal("another agent removed it")
	}
	a.RemoveConnByUfrag("one")
	if m.Users() != 0 {
		t.Fatal("still there")
	}
}

func FuzzDeliver(f *testing.F) {
	f.Add(build(f, stun.BindingRequest, stun.TransactionID, stun.NewUsername("one:peer"), stun.Fingerprint))
	f.Add(build(f, stun.BindingRequest, stun.TransactionID, stun.NewUsername("one")))
	f.Add(build(f, stun.BindingSuccess, stun.TransactionID))
	f.Add([]byte{0, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0xff, 0xff})
	m, _ := newMux()
	o := &owner{}
	c := getConn(f, m.Bind(o), "one")
	f.Fuzz(func(t *testing.T, b []byte) {
		r := m.Deliver(0, remote, b)
		for len(c.in) > 0 {
			got := <-c.in
			if r != Delivered || len(got.b) != len(b) {
				t.Fatalf("result %d, %d bytes", r, len(got.b))
			}
		}
		if len(o.valid) != 0 {
			t.Fatal("input alone validated an address")
		}
	})
}
