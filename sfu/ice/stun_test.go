package ice

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
)

// TestAgainstPion builds messages that pion/stun reads and checks, and reads what it builds.
func TestAgainstPion(t *testing.T) {
	k := newMAC("passwordpasswordpassword")
	id := TxID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, to := range []string{"192.0.2.7:1234", "[2001:db8::7]:65535"} {
		b := attrMapped(begin(nil, Success, &id), addr(to), &id)
		b = attrBytes(b, attrUsername, []byte("abcde"))
		b = finish(b, 0, k)
		m := &stun.Message{Raw: b}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		if m.Type != stun.BindingSuccess || m.TransactionID != [12]byte(id) {
			t.Fatalf("%v", m)
		}
		var x stun.XORMappedAddress
		if err := x.GetFrom(m); err != nil {
			t.Fatal(err)
		}
		if ip, _ := netip.AddrFromSlice(x.IP); ip.Unmap() != addr(to).Addr() || x.Port != int(addr(to).Port()) {
			t.Fatalf("address %v", x)
		}
		if err := stun.NewShortTermIntegrity("passwordpasswordpassword").Check(m); err != nil {
			t.Fatal(err)
		}
		if err := stun.Fingerprint.Check(m); err != nil {
			t.Fatal(err)
		}
		var own Message
		if !own.Parse(b) || own.mapped != addr(to) || !k.proves(&own) || newMAC("other").proves(&own) {
			t.Fatalf("own: %+v", own)
		}
	}
	req, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("ours:theirs"),
		stun.NewShortTermIntegrity("passwordpasswordpassword"), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if !m.Parse(req.Raw) || m.Class != Request || string(m.User()) != "ours" || !k.proves(&m) {
		t.Fatalf("%+v", m)
	}
	bad := bytes.Clone(req.Raw)
	bad[25] ^= 1
	if m.Parse(bad) {
		t.Fatal("wrong fingerprint taken")
	}
}

// TestUnprotectedAttributes: what stands behind MESSAGE-INTEGRITY does not count (RFC 8489 §14.5).
func TestUnprotectedAttributes(t *testing.T) {
	k := newMAC("pw")
	id := TxID{1}
	b := finish(attrBytes(begin(nil, Request, &id), attrUsername, []byte("a:b")), 0, k)
	b = b[:len(b)-8] // without the fingerprint
	b = attrHead(b, attrUseCandidate, 0)
	b[3] = byte(len(b) - headerSize)
	var m Message
	if !m.Parse(b) || m.useCandidate || !k.proves(&m) {
		t.Fatalf("%+v", m)
	}
}

func TestUnknownAttributeIsRefused(t *testing.T) {
	n := newNetwork(t)
	a := n.end(true, "192.0.2.1:10000")
	id := TxID{1}
	b := attrBytes(begin(nil, Request, &id), attrUsername, []byte(a.a.Local().Ufrag+":x"))
	b = finish(attr32(b, 0x7777, 1), 0, newMAC(a.a.Local().Pwd))
	var m Message
	var out Out
	if !m.Parse(b) || a.a.Handle(&m, 0, addr("203.0.113.1:1"), false, 1, &out) != Refused || len(out.List) != 1 {
		t.Fatal("taken")
	}
	r := &stun.Message{Raw: out.List[0].B}
	var code stun.ErrorCodeAttribute
	var unknown stun.UnknownAttributes
	if err := r.Decode(); err != nil || code.GetFrom(r) != nil || code.Code != 420 || unknown.GetFrom(r) != nil || len(unknown) != 1 || unknown[0] != 0x7777 {
		t.Fatalf("%v %v %v", r, code, unknown)
	}
}

// FuzzHandle gives an agent in the middle of things any datagram: nothing is read beyond the message, nothing unauthenticated changes the agent
// or is answered.
func FuzzHandle(f *testing.F) {
	n := newNetwork(f)
	a, b := n.end(true, "192.0.2.1:10000"), n.end(false, "198.51.100.7:4000")
	n.meet(a, b)
	n.run(10*second, nil)
	id := TxID{9}
	user := attrBytes(begin(nil, Request, &id), attrUsername, []byte(a.a.Local().Ufrag+":x"))
	f.Add(bytes.Clone(user))
	f.Add(finish(bytes.Clone(user), 0, newMAC("wrong")))
	f.Add(finish(attrError(begin(nil, Failure, &id), codeRoleConflict), 0, newMAC("wrong")))
	f.Add(finish(attrMapped(begin(nil, Success, &id), addr("[2001:db8::1]:1"), &id), 0, newMAC("wrong")))
	f.Add([]byte{0, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0xff, 0xff})
	pairs, sel := len(a.a.cur.pairs), a.a.selected
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		if !m.Parse(p) {
			return
		}
		if m.integrity+integritySize > len(p) && m.integrity != 0 || len(m.username) > len(p) {
			t.Fatal("beyond the message")
		}
		var out Out
		r := a.a.Handle(&m, 0, addr("203.0.113.1:1"), false, n.now, &out)
		if r == Authentic || r == Refused || len(out.List) != 0 || len(a.a.cur.pairs) != pairs || a.a.selected != sel {
			t.Fatalf("result %d, %d answers", r, len(out.List))
		}
	})
}
