package signaling

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// meet brings two accepted clients together.
func meet(w *world, fa, fb []string) (a, b *client) {
	w.t.Helper()
	a, b = w.client("aaaaaaaa", fa), w.client("bbbbbbbb", fb)
	if r := a.request(); r.Child(nsFocus, "conference").Attr("ready") != "true" {
		w.t.Fatalf("not ready: %s", r)
	}
	a.join()
	b.join()
	a.offer()
	a.accept(100)
	b.offer()
	b.accept(200)
	return a, b
}

func TestConferenceRequest(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a := w.client("aaaaaaaa", webFeatures)
		for _, to := range []string{"focus.meet.example", "focus@auth.meet.example/focus"} {
			r := a.iq("set", to, stanza.NewElement(nsFocus, "conference", "room", testRoom))
			c := r.Child(nsFocus, "conference")
			if r.From.String() != to || c.Attr("ready") != "true" || c.Attr("focusjid") != "focus@auth.meet.example" {
				t.Errorf("asked %s: %s", to, r)
			}
		}
		if r := a.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", "x@elsewhere.example")); stanzaError(r).Condition != "bad-request" {
			t.Errorf("foreign room: %s", r)
		}
		if r := a.iq("get", "focus.meet.example", stanza.NewElement(nsFocus, "login-url", "room", testRoom)); r.Child(nsFocus, "login-url").Attr("url") != "./standup?login=true" {
			t.Errorf("login-url: %s", r)
		}
		if r := a.iq("get", "focus.meet.example", stanza.NewElement(nsPing, "ping")); r.Type != "result" {
			t.Errorf("ping: %s", r)
		}
		if r := a.iq("get", "focus.meet.example", stanza.NewElement("urn:x", "query")); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "feature-not-implemented") == nil {
			t.Errorf("unknown: %s", r)
		}
	})
}

func TestRequestWhenRoomIsSilentOrRefuses(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a := w.client("aaaaaaaa", webFeatures)
		w.silent = true
		a.send(stanza.NewIQ("set", "q", a.real, stanza.MustJID("focus.meet.example"), stanza.NewElement(nsFocus, "conference", "room", testRoom)))
		if a.find(func(st *stanza.Stanza) bool { return st.ID == "q" }) != nil {
			t.Error("answered before the focus was in the room")
		}
		time.Sleep(11 * time.Second)
		r := a.take("answer", func(st *stanza.Stanza) bool { return st.ID == "q" })
		if r.Child(nsFocus, "conference").Attr("ready") != "false" {
			t.Errorf("got %s", r)
		}
		w.silent, w.refuse = false, stanza.ErrForbidden
		if r := a.request(); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "forbidden") == nil {
			t.Errorf("got %s", r)
		}
		if n := w.focus.Counters()["meetings"]; n != 0 {
			t.Errorf("%d meetings are left", n)
		}
	})
}

func TestOfferToWebClient(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", jsonFeatures), w.client("bbbbbbbb", webFeatures)
		a.request()
		a.join()
		if a.find(isJingle("session-initiate")) != nil {
			t.Fatal("offer to a lone member")
		}
		b.join()
		b.offer()
		b.accept(200)
		j := a.offer()
		if got := j.Attr("initiator"); got != "focus@auth.meet.example/focus" {
			t.Errorf("initiator %q", got)
		}
		var names []string
		for _, c := range j.ChildrenNamed(jingle.NS, "content") {
			names = append(names, c.Attr("name"))
			tr := c.Child(jingle.NSICE, "transport")
			if tr.Attr("ufrag") != "bufrag0" || tr.Child(jingle.NSDTLS, "fingerprint").Attr("setup") != "actpass" || tr.Child(jingle.NSICE, "candidate").Attr("ip") != "203.0.113.5" {
				t.Errorf("transport of %s is not whole", c.Attr("name"))
			}
			if (tr.Child(jingle.NSSCTP, "sctpmap") != nil) != (c.Attr("name") == "data") {
				t.Errorf("sctpmap in %s", c.Attr("name"))
			}
		}
		if strings.Join(names, " ") != "audio video data" {
			t.Errorf("contents %v", names)
		}
		text := j.Child(jingle.NSJitmeet, "json-message").Text()
		for _, want := range []string{`"jvb":[[{"s":902,"n":"jvb-v0","m":"mixedmslabel mixedlabelvideo0"}],[],[{"s":901,`} {
			if !strings.Contains(text, want) {
				t.Errorf("json sources %s\nlack %s", text, want)
			}
		}
		// b was accepted before a's offer went out, or after: either way a knows of b once it has accepted.
		a.accept(100)
		add := a.find(isJingle("source-add"))
		if !strings.Contains(text, `"s":200`) && (add == nil || !strings.Contains(add.Child(jingle.NS, "jingle").Child(jingle.NSJitmeet, "json-message").Text(), `"s":200`)) {
			t.Errorf("a was not told of b's sources")
		}
	})
}

func TestOfferToXMLClient(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", gstFeatures)
		a.request()
		a.join()
		b.join()
		j := b.offer()
		cs := j.ChildrenNamed(jingle.NS, "content")
		if len(cs) != 2 || j.Child(jingle.NSJitmeet, "json-message") != nil {
			t.Fatalf("contents %d", len(cs))
		}
		for _, c := range cs {
			d := c.Child(jingle.NSRTP, "description")
			srcs := d.ChildrenNamed(jingle.NSSSMA, "source")
			if len(srcs) == 0 {
				t.Errorf("%s has no source", c.Attr("name"))
			}
			for _, s := range srcs {
				if s.Child(jingle.NSJitmeet, "ssrc-info").Attr("owner") == "" {
					t.Errorf("source %s has no owner", s.Attr("ssrc"))
				}
			}
			if len(c.Child(jingle.NSICE, "transport").ChildrenNamed(jingle.NSColibri, "web-socket")) != 1 {
				t.Errorf("%s has no web-socket", c.Attr("name"))
			}
		}
	})
}

func TestAcceptReachesBridge(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		e := w.bridge.last(a.nick, func(e colibri.Endpoint) bool { return e.Sources != nil })
		if e == nil || e.Transport.Remote.Ufrag != "cufrag" || len(e.Sources.Sources) != 3 || len(e.Sources.Groups) != 1 {
			t.Fatalf("bridge was told %+v", e)
		}
		c := w.bridge.last(a.nick, func(e colibri.Endpoint) bool { return e.Create })
		if !c.Transport.SCTP || !c.Transport.ICEControlling || len(c.Capabilities) != 3 || len(c.Media) != 2 {
			t.Errorf("created with %+v", c)
		}
		if a.find(isJingle("source-add")) != nil {
			t.Error("a client with rewritten SSRCs got source-add")
		}
	})
}

func TestSourcesReachOthers(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, jsonFeatures, gstFeatures)
		for a.find(isJingle("source-add")) != nil {
		}
		for b.find(isJingle("source-add")) != nil {
		}
		sim := jingle.SourceSet{Groups: []jingle.Group{{Media: jingle.Video, Semantics: jingle.SIM, SSRCs: []uint32{301, 302, 303}}}}
		for _, s := range []uint32{301, 302, 303} {
			sim.Sources = append(sim.Sources, jingle.Source{SSRC: s, Media: jingle.Video, Name: "aaaaaaaa-v1", MSID: "screen t", VideoType: "desktop"})
		}
		if r := a.jingle("source-add", sourceContents(a.nick, sim)...); r.Type != "result" {
			t.Fatalf("source-add: %s", r)
		}
		acked := func(e colibri.Endpoint) bool { return slices.Contains(e.Acked, 301) }
		iq := b.take("source-add", isJingle("source-add"))
		if w.bridge.last(b.nick, acked) != nil {
			t.Error("the bridge was told of an answer that has not come")
		}
		b.send(iq.Result())
		if e := w.bridge.last(b.nick, acked); e == nil || len(e.Acked) != 1 {
			t.Errorf("the bridge was not told that b knows the source: %+v", e)
		}
		add := iq.Child(jingle.NS, "jingle")
		m, err := jingle.Parse(add)
		if err != nil || len(m.Sources.Sources) != 1 || m.Sources.Sources[0].SSRC != 301 || len(m.Sources.Groups) != 0 {
			t.Errorf("b was told %+v, %v", m.Sources, err)
		}
		if r := a.jingle("source-remove", sourceContents(a.nick, sim)...); r.Type != "result" {
			t.Fatalf("source-remove: %s", r)
		}
		b.take("source-remove", isJingle("source-remove"))
		// A leaver's sources are taken back too.
		b.leave()
		rm := a.take("source-remove", isJingle("source-remove")).Child(jingle.NS, "jingle")
		if text := rm.Child(jingle.NSJitmeet, "json-message").Text(); !strings.Contains(text, `"bbbbbbbb":[[{"s":201`) || !strings.Contains(text, `["f",201,202]`) {
			t.Errorf("source-remove has %s", text)
		}
	})
}

func TestBadSourcesAreRefused(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		set := jingle.SourceSet{Sources: []jingle.Source{{SSRC: 200, Media: jingle.Audio, Name: a.nick + "-a1", MSID: "z z"}}}
		r := a.jingle("source-add", sourceContents(a.nick, set)...)
		if r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "bad-request") == nil {
			t.Errorf("taken SSRC: %s", r)
		}
		if n := w.focus.Counters()["sources_refused"]; n != 1 {
			t.Errorf("counter is %d", n)
		}
	})
}

func TestSessionErrors(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		cond := func(r *stanza.Stanza) string { return stanzaError(r).Condition }
		old := a.sid
		if got := cond(a.jingle("session-accept")); got != "unexpected-request" {
			t.Errorf("second accept: %s", got)
		}
		if got := cond(a.jingle("content-modify")); got != "feature-not-implemented" {
			t.Errorf("unknown action: %s", got)
		}
		a.sid = "nonsense"
		if r := a.jingle("session-info"); cond(r) != "item-not-found" || r.Child(stanza.NSClient, "error").Child(jingle.NSErrors, "unknown-session") == nil {
			t.Errorf("unknown sid: %s", r)
		}
		a.sid = old
		if r := a.jingle("session-terminate"); r.Type != "result" {
			t.Errorf("terminate: %s", r)
		}
		if got := cond(a.jingle("session-info")); got != "gone" {
			t.Errorf("after the end: %s", got)
		}
		if a.find(isJingle("session-initiate")) != nil {
			t.Error("invited again unasked")
		}
		if w.bridge.endpoints()[a.nick] {
			t.Error("the endpoint is still there")
		}
		if got := cond(a.iq("set", testRoom+"/focus", stanza.NewElement("urn:x", "y"))); got != "feature-not-implemented" {
			t.Errorf("unknown iq: %s", got)
		}
	})
}

func terminateRestart(alloc string) []*stanza.Element {
	return []*stanza.Element{stanza.NewElement(jingle.NS, "reason").Add(stanza.NewElement(jingle.NS, "connectivity-error")),
		stanza.NewElement(jingle.NSFocus, "bridge-session", "id", alloc, "restart", "true")}
}

func TestRestart(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		if got := stanzaError(a.jingle("session-terminate", terminateRestart("other")...)).Condition; got != "item-not-found" {
			t.Errorf("wrong allocation: %s", got)
		}
		sid := a.sid
		for i := range 5 {
			if r := a.jingle("session-terminate", terminateRestart(a.alloc)...); r.Type != "result" {
				t.Fatalf("restart %d: %s", i, r)
			}
			a.offer()
			if a.sid == sid {
				t.Fatal("same sid again")
			}
			a.accept(100)
			if got := stanzaError(a.jingle("session-terminate", terminateRestart(a.alloc)...)).Condition; got != "resource-constraint" {
				t.Errorf("too soon: %s", got)
			}
			time.Sleep(6 * time.Second)
		}
		if got := stanzaError(a.jingle("session-terminate", terminateRestart(a.alloc)...)).Condition; got != "resource-constraint" {
			t.Errorf("sixth in a minute: %s", got)
		}
		time.Sleep(time.Minute)
		if r := a.jingle("session-terminate", terminateRestart(a.alloc)...); r.Type != "result" {
			t.Errorf("after a minute: %s", r)
		}
	})
}

// TestRestartAnswer: who restarts its session is answered when the bridge has ended the endpoint, and is not kept waiting by a bridge that does not.
func TestRestartAnswer(t *testing.T) {
	for _, dead := range []bool{false, true} {
		inWorld(t, Config{}, func(t *testing.T, w *world) {
			w.bridge.hold = make(chan struct{})
			a, _ := meet(w, webFeatures, webFeatures)
			end := stanza.NewElement(jingle.NS, "jingle", "action", "session-terminate", "sid", a.sid).Add(terminateRestart(a.alloc)...)
			a.send(stanza.NewIQ("set", "end", a.real, stanza.MustJID(testRoom+"/focus"), end))
			answered := func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == "end" && st.Type == "result" }
			time.Sleep(maxRestartAnswer / 2)
			if a.find(answered) != nil {
				t.Error("answered before the endpoint was gone")
			}
			if !dead {
				close(w.bridge.hold)
				a.take("answer", answered)
				a.offer()
				return
			}
			time.Sleep(maxRestartAnswer)
			a.take("answer", answered)
			if a.find(isJingle("session-initiate")) != nil {
				t.Error("offered an endpoint while the old one is there")
			}
			close(w.bridge.hold)
			a.offer()
			if a.find(answered) != nil {
				t.Error("answered twice")
			}
		})
	}
}

func TestICERestart(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, _ := meet(w, webFeatures, webFeatures)
		bs := stanza.NewElement(jingle.NSFocus, "bridge-session", "id", a.alloc, "ice-restart", "true")
		if r := a.jingle("session-info", bs); r.Type != "result" {
			t.Fatalf("got %s", r)
		}
		ti := a.take("transport-info", isJingle("transport-info")).Child(jingle.NS, "jingle")
		tr := ti.Child(jingle.NS, "content").Child(jingle.NSICE, "transport")
		if tr.Attr("ufrag") != "bufrag1" || tr.Attr("ice-generation") != "1" {
			t.Errorf("transport %s", tr.AppendXML(nil, ""))
		}
		re := jingle.Transport{Ufrag: "new", Pwd: "newpwdnewpwdnewpwdnewp", Generation: 1}
		a.jingle("transport-info", stanza.NewElement(jingle.NS, "content", "name", "audio").Add(re.Element(false)))
		e := w.bridge.last(a.nick, func(e colibri.Endpoint) bool { return e.Transport != nil && e.Transport.Remote != nil })
		if e.Transport.Remote.Ufrag != "new" || e.Transport.Remote.Generation != 1 || len(e.Transport.Remote.Fingerprints) != 1 {
			t.Errorf("bridge was told %+v", e.Transport.Remote)
		}
		if got := stanzaError(a.jingle("session-info", bs)).Condition; got != "resource-constraint" {
			t.Errorf("too soon: %s", got)
		}
		// the limits of session restarts are others
		if r := a.jingle("session-terminate", terminateRestart(a.alloc)...); r.Type != "result" {
			t.Errorf("restart after it: %s", r)
		}
		a.offer()
		a.accept(100)
		bs = stanza.NewElement(jingle.NSFocus, "bridge-session", "id", a.alloc, "ice-restart", "true")
		time.Sleep(minRestartGap)
		w.bridge.errICE = &colibri.Error{Reason: colibri.ReasonFeatureNotSupported}
		if got := stanzaError(a.jingle("session-info", bs)).Condition; got != "feature-not-implemented" {
			t.Errorf("bridge cannot: %s", got)
		}
	})
}

func TestTransportInfoBeforeAccept(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures)
		a.request()
		a.join()
		b.join()
		a.offer()
		early := jingle.Transport{Ufrag: "cufrag", Pwd: "cpwdcpwdcpwdcpwdcpwdcp", Candidates: bridgeTransport(0).Candidates}
		if r := a.jingle("transport-info", stanza.NewElement(jingle.NS, "content", "name", "audio").Add(early.Element(false))); r.Type != "result" {
			t.Fatalf("got %s", r)
		}
		a.accept(100)
		e := w.bridge.last(a.nick, func(e colibri.Endpoint) bool { return e.Transport != nil && e.Transport.Remote != nil })
		if len(e.Transport.Remote.Candidates) != 1 || len(e.Transport.Remote.Fingerprints) != 1 {
			t.Errorf("bridge was told %+v", e.Transport.Remote)
		}
	})
}

func TestAloneAndAgain(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, webFeatures)
		b.leave()
		time.Sleep(19 * time.Second)
		if a.find(isJingle("session-terminate")) != nil {
			t.Fatal("ended too soon")
		}
		time.Sleep(2 * time.Second)
		st := a.take("session-terminate", isJingle("session-terminate"))
		if st.Child(jingle.NS, "jingle").Child(jingle.NS, "reason").Child(jingle.NS, "expired") == nil {
			t.Errorf("got %s", st)
		}
		b.join()
		a.offer()
		a.accept(100)
		b.offer()
	})
}

// A camera by gst-meet waits for the next visitor in the session that it has: it could not take a second one.
func TestAloneWithoutASecondSession(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, gstFeatures, webFeatures)
		b.leave()
		time.Sleep(time.Minute)
		if st := a.find(isJingle("session-terminate")); st != nil {
			t.Fatalf("got %s", st)
		}
		a.inbox = nil
		c := w.client("cccccccc", webFeatures)
		c.join()
		c.offer()
		c.accept(300)
		if st := a.find(isJingle("session-initiate")); st != nil {
			t.Errorf("got %s", st)
		}
		a.take("source-add", isJingle("source-add"))
	})
}

func TestFocusLeavesLast(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, webFeatures)
		a.leave()
		time.Sleep(time.Minute)
		if w.occupants() != 2 {
			t.Fatal("focus left before the last member")
		}
		b.leave()
		synctest.Wait()
		if w.occupants() != 0 || w.focus.Counters()["meetings"] != 0 {
			t.Error("focus is still there")
		}
		if w.bridge.conferences() != 0 {
			t.Error("the bridge still has the conference")
		}
		// The room starts anew.
		if r := a.request(); r.Child(nsFocus, "conference").Attr("ready") != "true" {
			t.Errorf("got %s", r)
		}
	})
}

// TestEmptyButExpected: a meeting that everybody has left waits for who has asked for it and is on the way.
func TestEmptyButExpected(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, webFeatures)
		time.Sleep(time.Minute)
		c := w.client("cccccccc", webFeatures)
		c.request()
		a.leave()
		b.leave()
		time.Sleep(19 * time.Second)
		if w.occupants() != 1 {
			t.Fatal("focus did not wait")
		}
		c.join()
		time.Sleep(time.Minute)
		if w.occupants() != 2 {
			t.Fatal("focus left one alone")
		}
		c.leave()
		synctest.Wait()
		if w.occupants() != 0 {
			t.Error("focus is still there")
		}
	})
}

func TestNobodyComes(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		w.client("aaaaaaaa", webFeatures).request()
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if n := w.focus.Counters()["meetings"]; n != 0 {
			t.Errorf("%d meetings", n)
		}
	})
}

func TestOwners(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b, rec := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures), w.client("cccccccc", webFeatures)
		a.request()
		rec.join(stanza.NewElement(stanza.NSClient, "features").Add(stanza.NewElement(stanza.NSClient, "feature", "var", featJibri)))
		a.join()
		b.join()
		aff := func(nick string) string {
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.rooms["standup"].byNick(nick).affiliation
		}
		if aff(a.nick) != "owner" || aff(b.nick) != "none" || aff(rec.nick) != "none" {
			t.Errorf("owners: a %s, b %s, recorder %s", aff(a.nick), aff(b.nick), aff(rec.nick))
		}
		a.leave()
		if aff(b.nick) != "owner" {
			t.Errorf("b is %s after the owner left", aff(b.nick))
		}
	})
}

func TestAuthentication(t *testing.T) {
	inWorld(t, Config{AuthRequired: true, AuthDomains: []string{"staff.example"}}, func(t *testing.T, w *world) {
		guest := w.client("aaaaaaaa", webFeatures)
		if got := stanzaError(guest.request()).Condition; got != "not-authorized" {
			t.Fatalf("guest: %s", got)
		}
		bad := guest.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", testRoom, "session-id", "made-up"))
		if e := bad.Child(stanza.NSClient, "error"); e.Child(stanza.NSStanzas, "not-acceptable") == nil || e.Child(nsFocus, "session-invalid") == nil {
			t.Errorf("bad session: %s", bad)
		}
		staff := w.client("bbbbbbbb", webFeatures)
		w.mu.Lock()
		staff.real = stanza.MustJID("staff@staff.example/x")
		w.clients[staff.real] = staff
		w.mu.Unlock()
		r := staff.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", testRoom, "machine-uid", "m-aaaaaaaa")).Child(nsFocus, "conference")
		if r.Attr("session-id") == "" || r.Attr("identity") != "staff@staff.example" {
			t.Fatalf("staff: %s", r.AppendXML(nil, ""))
		}
		// The guest presents the session and is owner; another guest is let in and is not.
		in := guest.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", testRoom, "machine-uid", "m-aaaaaaaa", "session-id", r.Attr("session-id")))
		if in.Type != "result" {
			t.Fatalf("guest with session: %s", in)
		}
		other := w.client("cccccccc", webFeatures)
		if r := other.request(); r.Type != "result" {
			t.Errorf("second guest: %s", r)
		}
		other.join()
		guest.join()
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if g, o := w.rooms["standup"].byNick(guest.nick).affiliation, w.rooms["standup"].byNick(other.nick).affiliation; g != "owner" || o != "none" {
			t.Errorf("guest with session is %s, other %s", g, o)
		}
	})
}

func TestMute(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := meet(w, webFeatures, webFeatures) // a is owner
		mute := func(c *client, media, nick, text string) *stanza.Stanza {
			return c.iq("set", testRoom+"/focus", stanza.TextElement(nsMute+media, "mute", text, "jid", testRoom+"/"+nick))
		}
		if got := stanzaError(mute(b, "audio", a.nick, "true")).Condition; got != "not-allowed" {
			t.Errorf("participant mutes owner: %s", got)
		}
		if r := mute(a, "audio", b.nick, "true"); r.Type != "result" {
			t.Fatalf("owner mutes: %s", r)
		}
		st := b.take("mute", func(st *stanza.Stanza) bool { return st.Has(nsMute+"audio", "mute") })
		if m := st.Child(nsMute+"audio", "mute"); m.Attr("jid") != testRoom+"/"+b.nick || m.Attr("actor") != testRoom+"/"+a.nick || m.Text() != "true" {
			t.Errorf("b was told %s", st)
		}
		forced := func() colibri.ForceMute {
			return *w.bridge.last(b.nick, func(e colibri.Endpoint) bool { return e.ForceMute != nil }).ForceMute
		}
		if !forced().Audio || forced().Video {
			t.Errorf("bridge: %+v", forced())
		}
		if got := stanzaError(mute(a, "audio", b.nick, "false")).Condition; got != "not-allowed" {
			t.Errorf("unmuting others: %s", got)
		}
		if r := mute(b, "audio", b.nick, "false"); r.Type != "result" || forced().Audio {
			t.Errorf("unmuting oneself: %s, %+v", r, forced())
		}
	})
}

func TestBridgeTroubles(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures)
		w.bridge.err = &colibri.Error{Reason: colibri.ReasonInternal}
		a.request()
		a.join()
		b.join()
		st := a.take("bridgeNotAvailable", func(st *stanza.Stanza) bool { return st.Has(nsFocus, "bridgeNotAvailable") })
		if st.From.Resource() != "focus" {
			t.Errorf("from %s", st.From)
		}
		w.bridge.mu.Lock()
		w.bridge.err = nil
		w.bridge.mu.Unlock()
		time.Sleep(5 * time.Second)
		a.offer()
		a.accept(100)
		b.offer()
		b.accept(200)
		// The endpoint's path breaks: it gets another.
		w.bridge.listener.EndpointLost("id-of-standup", a.nick)
		a.take("session-terminate", isJingle("session-terminate"))
		a.offer()
		a.accept(100)
		// The bridge forgets everything: the next question finds out, and everybody is invited again.
		w.bridge.mu.Lock()
		clear(w.bridge.confs)
		w.bridge.mu.Unlock()
		time.Sleep(10 * time.Second)
		a.jingle("source-remove", a.contents(100)...)
		a.offer()
		b.offer()
	})
}

func TestDiscoTimeout(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures)
		a.request()
		for _, c := range []*client{a, b} {
			c.send(stanza.NewPresence("", c.real, stanza.MustJID(testRoom+"/"+c.nick), stanza.NewElement(nsMUC, "x")))
		}
		time.Sleep(6 * time.Second)
		j := a.offer()
		if j.Child(jingle.NSJitmeet, "json-message") != nil || len(j.ChildrenNamed(jingle.NS, "content")) != 3 {
			t.Error("the fallback is audio, video and data with XML sources")
		}
	})
}

func TestCapsCache(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b, c := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures), w.client("cccccccc", gstFeatures)
		a.request()
		mark := func(ver string) *stanza.Element {
			return stanza.NewElement(nsCaps, "c", "hash", "sha-1", "node", "https://jitsi.org/jitsi-meet", "ver", ver)
		}
		isDisco := func(st *stanza.Stanza) bool { return st.Type == "get" && st.Has(nsDiscoInfo, "query") }
		ver := capsHash(a.disco())
		a.join(mark(ver))
		b.send(stanza.NewPresence("", b.real, stanza.MustJID(testRoom+"/"+b.nick), stanza.NewElement(nsMUC, "x"), mark(ver)))
		if b.find(isDisco) != nil {
			t.Error("a known version was asked again")
		}
		b.offer()
		// A lie is not remembered.
		c.join(mark("bGll"))
		d := w.client("dddddddd", gstFeatures)
		d.send(stanza.NewPresence("", d.real, stanza.MustJID(testRoom+"/"+d.nick), stanza.NewElement(nsMUC, "x"), mark("bGll")))
		d.take("disco#info", isDisco)
	})
}

func TestStartMuted(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.client("aaaaaaaa", webFeatures), w.client("bbbbbbbb", webFeatures)
		a.iq("set", "focus.meet.example", stanza.NewElement(nsFocus, "conference", "room", testRoom).Add(property("startAudioMuted", "1")))
		a.join()
		b.join()
		if a.offer().Child(jingle.NSStartMuted, "startmuted") != nil {
			t.Error("the first starts muted")
		}
		if sm := b.offer().Child(jingle.NSStartMuted, "startmuted"); sm.Attr("audio") != "true" || sm.Attr("video") != "false" {
			t.Errorf("the second: %v", sm)
		}
	})
}

func TestShutdownEndsSessions(t *testing.T) {
	var a *client
	inWorld(t, Config{}, func(t *testing.T, w *world) { a, _ = meet(w, webFeatures, webFeatures) })
	for _, st := range a.inbox {
		if isJingle("session-terminate")(st) {
			return
		}
	}
	t.Error("no session-terminate at shutdown")
}
