package xmpp

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/xmpp/stanza"
)

// again makes a new connection of the same kind for p's session and authenticates.
func (r *rig) again(p *play) *play {
	r.t.Helper()
	var q *play
	if p.ws != nil {
		q = r.dialWS(p.name, "?room=r1&previd="+p.smid).auth("x.test", "")
	} else {
		q = r.dial(p.name, r.tls).auth("x.test", p.jid.Local())
	}
	q.jid, q.smid, q.h = p.jid, p.smid, p.h
	return q
}

// resume is again with resumption; it gives the h of the server.
func (r *rig) resume(p *play) (*play, uint32) {
	r.t.Helper()
	q := r.again(p)
	q.send("<resume xmlns='%s' h='%d' previd='%s'/>", nsSM, q.h, q.smid)
	e := q.expect("<resumed", "previd='"+q.smid+"'").Elem
	h, err := strconv.ParseUint(e.Attr("h"), 10, 32)
	if err != nil {
		r.t.Fatal(err)
	}
	return q, uint32(h)
}

// receive reads the next stanza and answers requests for acknowledgement on the way.
func (p *play) receive() (*stanza.Stanza, error) {
	for {
		it, err := p.next()
		if err != nil {
			return nil, err
		}
		switch {
		case it.Stanza != nil:
			p.h++
			return it.Stanza, nil
		case it.Elem.Local == "r":
			if err := p.trySend(fmt.Sprintf("<a xmlns='%s' h='%d'/>", nsSM, p.h)); err != nil {
				return nil, err
			}
		}
	}
}

func fast(c *Config) {
	c.Limits.RateBytes, c.Limits.RateBurst = 64<<20, 64<<20
}

func (r *rig) resumable(kind string) *play {
	if kind == "ws" {
		return r.guest("guest").enable().available("")
	}
	return r.dial("alice", r.tls).auth("x.test", "alice").bind("desk").enable().available("")
}

// Breaks at random under load, in both directions: every message arrives once and in order.
func TestResumeUnderLoad(t *testing.T) {
	const messages = 3000
	for _, kind := range []string{"tcp", "ws"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, fast)
			p, bob := r.resumable(kind), r.user("bob", "b")
			to := p.jid
			rnd := rand.New(rand.NewPCG(1, 2))
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				for n := range messages {
					if err := bob.trySend(fmt.Sprintf("<message to='%s' id='%d'><body>%d</body></message>", to, n, n)); err != nil {
						t.Errorf("bob: %v", err)
						return
					}
				}
			})
			wg.Go(func() { bobReads(t, bob, messages) })
			sent, acked, breaks := 0, 0, 0 // of ours to bob; acked by h
			base := uint32(2)              // presence and sync came after enable
			left := 0
			for got := 0; got < messages || acked < messages; {
				if left--; left < 0 && breaks < 40 {
					left = rnd.IntN(150)
					if breaks++; breaks > 1 {
						if breaks%3 != 0 { // every third time the old stream is still there
							p.cut()
						}
						var h uint32
						p, h = r.resume(p)
						acked = int(h - base)
						sent = acked
					}
				}
				if sent < messages {
					if err := p.trySend(fmt.Sprintf("<message%s to='bob@x.test/b' id='%d'/>", clientNS, sent)); err != nil {
						t.Fatal(err)
					}
					sent++
				} else if got == messages {
					_, h := r.finalAck(p)
					acked = int(h - base)
					continue
				}
				if got == messages {
					continue
				}
				st, err := p.receive()
				if err != nil {
					t.Fatalf("after %d: %v", got, err)
				}
				if st.ID != strconv.Itoa(got) {
					t.Fatalf("got message %s, want %d", st.ID, got)
				}
				got++
			}
			n := r.s.Counters()
			if n["sm_resumed"] < 30 {
				t.Errorf("only %d resumptions", n["sm_resumed"])
			}
			wg.Wait()
			if len(r.offline) != 0 {
				t.Errorf("%d messages went offline", len(r.offline))
			}
		})
	}
}

// A message for a client that has lost its link goes to one of less priority that is here, unless that gets copies (XEP-0280).
func TestStandIn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ResumeTimeout = time.Minute })
	p, bob := r.resumable("tcp"), r.user("bob", "b")
	low := r.dial("alice2", r.tls).auth("x.test", "alice").bind("phone").enable().available("<priority>0</priority>")
	copied := r.dial("alice3", r.tls).auth("x.test", "alice").bind("tablet").enable().available("<priority>0</priority>")
	r.s.Session(copied.jid).SetNote(NoteCarbons, "on")
	p.available("<priority>5</priority>")
	bob.send("<message to='alice@x.test' type='chat' id='1'><body>x</body></message>")
	if st, err := p.receive(); err != nil || st.ID != "1" {
		t.Fatalf("got %v, %v", st, err)
	}
	p.cut()
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	bob.send("<message to='alice@x.test' type='chat' id='2'><body>x</body></message>")
	bob.sync()
	copied.sync() // it has got nothing before that
	q, _ := r.resume(p)
	for _, x := range []*play{low, q} {
		if st, err := x.receive(); err != nil || st.ID != "2" {
			t.Errorf("%s got %v, %v", x.name, st, err)
		}
	}
}

func bobReads(t *testing.T, bob *play, messages int) {
	for n := range messages {
		it, err := bob.next()
		if err != nil {
			t.Errorf("bob after %d: %v", n, err)
			return
		}
		if it.Stanza == nil || it.Stanza.ID != strconv.Itoa(n) {
			t.Errorf("bob got %s, want %d", text(it), n)
			return
		}
	}
}

// finalAck asks for the server's h.
func (r *rig) finalAck(p *play) (*play, uint32) {
	r.t.Helper()
	p.send("<r xmlns='%s'/>", nsSM)
	for {
		it, err := p.next()
		if err != nil {
			r.t.Fatal(err)
		}
		if it.Elem != nil && it.Elem.Local == "a" {
			h, _ := strconv.ParseUint(it.Elem.Attr("h"), 10, 32)
			return p, uint32(h)
		}
	}
}

// A session whose client does not come back: unacknowledged messages go to the offline hooks once, and the client learns our h.
func TestResumeTooLate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ResumeTimeout = 50 * time.Millisecond })
	p, bob := r.resumable("tcp"), r.user("bob", "b")
	const n = 20
	for k := range n {
		bob.send("<message to='alice@x.test/desk' type='chat' id='%d'><body>x</body></message>", k)
	}
	bob.sync()
	p.expect("id='0'") // one was seen, none acknowledged
	p.cut()
	for k := range n {
		st := <-r.offline
		if st.ID != strconv.Itoa(k) || !st.Has(nsDelay, "delay") || st.From != bob.jid {
			t.Fatalf("offline got %v, want %d", st, k)
		}
	}
	q := r.again(p)
	q.send("<resume xmlns='%s' h='1' previd='%s'/>", nsSM, p.smid)
	q.expect("<failed", "h='2'", "<item-not-found")
	q.bind("desk")
	if len(r.offline) != 0 {
		t.Errorf("%d doubled", len(r.offline))
	}
}

// The acknowledged ones are not routed again.
func TestAcknowledgedStayAway(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ResumeTimeout = 50 * time.Millisecond })
	p, bob := r.resumable("tcp"), r.user("bob", "b")
	for k := range 4 {
		bob.send("<message to='alice@x.test' type='chat' id='%d'/>", k)
		p.expect(fmt.Sprintf("id='%d'", k))
	}
	p.send("<a xmlns='%s' h='3'/>", nsSM) // the sync answer and two messages
	p.sync()
	p.cut()
	for _, id := range []string{"2", "3"} {
		if st := <-r.offline; st.ID != id {
			t.Fatalf("got %v, want %s", st, id)
		}
	}
	await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
	if len(r.offline) != 0 {
		t.Errorf("too many: %v", <-r.offline)
	}
}

// A message to the bare address went to two sessions: it is lost only when both lost it.
func TestCopiesCountOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ResumeTimeout = 50 * time.Millisecond })
	p := r.resumable("tcp")
	q := r.dial("alice2", r.tls).auth("x.test", "alice").bind("phone").enable().available("")
	bob := r.user("bob", "b")
	bob.send("<message to='alice@x.test' type='chat' id='1'/><message to='alice@x.test' type='chat' id='2'/>")
	for _, x := range []*play{p, q} {
		x.expect("id='1'")
		x.expect("id='2'")
	}
	q.send("<a xmlns='%s' h='2'/>", nsSM) // the sync answer and the first
	q.sync()
	p.cut()
	await.True(t, "p ends", func() bool { return r.s.Session(p.jid) == nil })
	if len(r.offline) != 0 {
		t.Fatalf("routed again although a copy may arrive: %v", <-r.offline)
	}
	q.cut()
	if st := <-r.offline; st.ID != "2" {
		t.Fatalf("got %v", st)
	}
	await.True(t, "q ends", func() bool { return r.s.Session(q.jid) == nil })
	if len(r.offline) != 0 {
		t.Errorf("too many: %v", <-r.offline)
	}
}

func TestNoRequestBeforeEnable(t *testing.T) {
	r := newRigWith(t, func(c *Config) { c.Limits.AckEvery = 1 }, func(s *Server) {
		s.Hooks().Bound(func(x *Session) {
			x.Send(stanza.NewMessage("", mustBare("x.test"), x.JID(), stanza.NewElement("urn:p", "push")))
		})
	})
	p := r.dialWS("gst", "").auth("x.test", "")
	p.send("<iq%s type='set' id='b'><bind xmlns='%s'/></iq>", clientNS, nsBind)
	p.expect("<push") // before the result
	p.jid = stanza.MustJID(p.expect("id='b'", "result").Stanza.Child(nsBind, "bind").Child(nsBind, "jid").Text())
	for range 10 {
		p.sync()
	}
	p.enable()
	p.send("<iq%s type='get' id='q' to='x.test'><sync xmlns='test:sync'/></iq>", clientNS)
	p.expect("id='q'")
	p.expect("<r xmlns='urn:xmpp:sm:3'/>")
	p.send("<r xmlns='urn:xmpp:sm:3'/>")
	p.expect("<a xmlns='urn:xmpp:sm:3' h='1'/>")
}

func TestAckTooHigh(t *testing.T) {
	r := newRig(t, nil)
	p := r.resumable("tcp")
	p.send("<a xmlns='%s' h='100'/>", nsSM)
	it := p.expect("<undefined-condition", "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='100' send-count='1'/>")
	if it.Elem.Space != stanza.NSStream {
		t.Error("no stream error")
	}
	p.expectEnd("")
	await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
}

func TestResumeIsForTheOwner(t *testing.T) {
	r := newRig(t, nil)
	p := r.resumable("tcp")
	bob := r.dial("bob", r.tls).auth("x.test", "bob")
	bob.send("<resume xmlns='%s' h='0' previd='%s'/>", nsSM, p.smid)
	bob.expect("<failed", "<item-not-found")
	bob.bind("b")
	g := r.dialWS("guest", "?previd="+p.smid).auth("x.test", "").bind("")
	if g.jid.Domain() != "guest.x.test" {
		t.Errorf("previd of an account made a guest %s", g.jid)
	}
	p.sync() // alice still lives
}

func TestGuestKeepsName(t *testing.T) {
	r := newRig(t, nil)
	p := r.guest("guest").enable()
	p.cut()
	q := r.again(p).bind("") // without resumption, the name is the same
	if q.jid.Bare() != p.jid.Bare() {
		t.Errorf("%s came back as %s", p.jid, q.jid)
	}
	if o := r.guest("other"); o.jid.Bare() == p.jid.Bare() {
		t.Error("name given twice")
	}
}

func TestWindow(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct{ max, want string }{{"", "max='600'"}, {" max='30'", "max='30'"}, {" max='9999999999'", "max='600'"}, {" max='-1'", "max='600'"}} {
		p := r.dial("alice", r.tls).auth("x.test", "alice").bind("d")
		p.send("<enable xmlns='%s' resume='1'%s/>", nsSM, c.max)
		p.expect("<enabled", c.want)
		p.send("</stream:stream>")
		p.expectEnd("")
	}
	g := r.guest("g")
	g.send("<enable xmlns='%s' resume='true'/>", nsSM)
	g.expect("<enabled", "max='75'")
}

func TestEnableTwiceAndTooEarly(t *testing.T) {
	r := newRig(t, nil)
	p := r.dial("alice", r.tls).auth("x.test", "alice")
	p.send("<enable xmlns='%s'/>", nsSM)
	p.expect("<failed", "<unexpected-request")
	p.bind("d").enable()
	p.send("<enable xmlns='%s'/>", nsSM)
	p.expect("<failed", "<unexpected-request")
	p.send("<resume xmlns='%s' h='0' previd='%s'/>", nsSM, p.smid)
	p.expect("<failed", "<unexpected-request")
}

// A client that takes nothing more: no answer to <r/> breaks the stream, the session waits, and nothing is lost.
func TestDeadClientIsFound(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.AckTimeout, c.Limits.AckDelay = 50*time.Millisecond, 10*time.Millisecond })
	bob := r.user("bob", "b")
	p := r.dial("alice", r.tls).auth("x.test", "alice").bind("desk").available("").enable() // nothing to acknowledge before the message
	bob.send("<message to='alice@x.test' type='chat' id='1'/>")
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	q, _ := r.resume(p)
	if st, err := q.receive(); err != nil || st.ID != "1" {
		t.Fatalf("%v %v", st, err)
	}
}
