package colibri1

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/goleak"

	"konzil/sfu"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen anyway.
const patience = 10 * time.Second

// world is the bridge on a real sfu, and clients that ask it.
type world struct {
	t *testing.T
	s *Service

	mu  sync.Mutex // guards got
	got []*stanza.Stanza
	new chan struct{} // holds one token when something came
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	c := sfu.DefaultConfig()
	c.Listen, c.Shards = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 1
	engine, err := sfu.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, new: make(chan struct{}, 1)}
	cfg := Config{Domain: "jitsi-videobridge.meet.example", Allowed: func(u stanza.JID) bool { return u.Domain() == "meet.example" }}
	if change != nil {
		change(&cfg)
	}
	if w.s, err = New(cfg, engine, w, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.s.Close(); engine.Close() })
	return w
}

func (w *world) Route(st *stanza.Stanza) {
	w.mu.Lock()
	w.got = append(w.got, st)
	w.mu.Unlock()
	select {
	case w.new <- struct{}{}:
	default:
	}
}

// next waits for a stanza of the bridge that fits, and takes it.
func (w *world) next(what string, fits func(*stanza.Stanza) bool) *stanza.Stanza {
	w.t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		i := slices.IndexFunc(w.got, fits)
		if i >= 0 {
			st := w.got[i]
			w.got = slices.Delete(w.got, i, i+1)
			w.mu.Unlock()
			return st
		}
		w.mu.Unlock()
		select {
		case <-w.new:
		case <-late:
			w.t.Fatalf("nothing came: %s", what)
		}
	}
}

// ask sends an iq as a client and waits for the answer.
func (w *world) ask(from, typ, payload string) *stanza.Stanza {
	w.t.Helper()
	el, err := stanza.ParseElement([]byte(payload))
	if err != nil {
		w.t.Fatal(err)
	}
	id := strconv.Itoa(int(time.Now().UnixNano()))
	w.s.HandleStanza(stanza.NewIQ(typ, id, stanza.MustJID(from), stanza.MustJID("jitsi-videobridge.meet.example"), el))
	return w.next("the answer", func(st *stanza.Stanza) bool { return st.ID == id })
}

const alice = "alice@meet.example/Jitsi"

// allocate asks for channels of one content and gives them, with the id of the conference.
func (w *world) allocate(from, conference, name string, channels ...string) (string, []*stanza.Element) {
	w.t.Helper()
	id := ""
	if conference != "" {
		id = " id='" + conference + "'"
	}
	r := w.ask(from, "get", "<conference xmlns='"+NS+"'"+id+"><content name='"+name+"'>"+strings.Join(channels, "")+"</content></conference>")
	if r.Type != "result" {
		w.t.Fatalf("refused: %s", r)
	}
	c := r.Child(NS, "conference")
	return c.Attr("id"), c.Child(NS, "content").ChildrenNamed(NS, "channel")
}

const rawChannel = "<channel endpoint='%s' initiator='%v'><payload-type id='111' name='opus' clockrate='48000' channels='2'/><transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'/></channel>"

// end is a participant's pair of sockets.
type end struct {
	t        *testing.T
	rtp      *net.UDPConn
	to, rtcp netip.AddrPort
	ssrc     uint32
}

func (w *world) end(ssrc uint32, ch *stanza.Element) *end {
	w.t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	e := &end{t: w.t, rtp: c, ssrc: ssrc}
	for _, space := range []string{nsRaw, jingle.NSICE} {
		for _, cand := range ch.Child(space, "transport").ChildrenNamed(space, "candidate") {
			a := netip.MustParseAddrPort(net.JoinHostPort(cand.Attr("ip"), cand.Attr("port")))
			if cand.Attr("component") == "1" {
				e.to = a
			} else {
				e.rtcp = a
			}
		}
	}
	return e
}

// packet is RTP with a payload.
func (e *end) packet(seq uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x80, 111}, seq)
	b = binary.BigEndian.AppendUint32(b, 960*uint32(seq))
	return append(binary.BigEndian.AppendUint32(b, e.ssrc), payload...)
}

func (e *end) send(b []byte) {
	if _, err := e.rtp.WriteToUDPAddrPort(b, e.to); err != nil {
		e.t.Error(err)
	}
}

// hears waits for exactly these bytes, while talk keeps being said.
func (e *end) hears(want []byte, talk func()) {
	e.t.Helper()
	buf := make([]byte, 1500)
	for late := time.Now().Add(patience); time.Now().Before(late); {
		talk()
		_ = e.rtp.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			n, err := e.rtp.Read(buf)
			if err != nil {
				break
			}
			if bytes.Equal(buf[:n], want) {
				return
			}
		}
	}
	e.t.Fatal("the packet did not come")
}

// TestThreeRaw plays Jitsi Desktop with raw UDP: three participants, media between all, bit for bit, and SSRCs told to the focus.
func TestThreeRaw(t *testing.T) {
	w := newWorld(t, nil)
	id, chans := w.allocate(alice, "", "audio", fmt.Sprintf(rawChannel, alice, false), fmt.Sprintf(rawChannel, "bob@meet.example/x", true))
	if len(chans) != 2 || chans[0].Attr("endpoint") != alice || chans[1].Attr("endpoint") != "bob@meet.example/x" || chans[0].Attr("id") == "" ||
		chans[0].Attr("expire") != "60" || chans[0].Attr("rtp-level-relay-type") != "translator" || chans[0].Attr("direction") != "sendrecv" || chans[1].Attr("initiator") != "true" {
		t.Fatalf("answer: %v", chans)
	}
	if chans[0].Attr("host") != "127.0.0.1" || chans[0].Attr("rtpport") == "" || chans[0].Attr("rtpport") == chans[0].Attr("rtcpport") {
		t.Errorf("old attributes: %v", chans[0].Attrs)
	}
	if chans[0].Child(jingle.NSSSMA, "source").Attr("ssrc") == "" {
		t.Error("no SSRC of the bridge")
	}
	_, more := w.allocate(alice, id, "audio", fmt.Sprintf(rawChannel, "carol@meet.example/y", true))
	ends := []*end{w.end(101, chans[0]), w.end(102, chans[1]), w.end(103, more[0])}
	all := func() {
		for _, e := range ends {
			e.send(e.packet(1, "latch"))
		}
	}
	for i, from := range ends {
		for j, to := range ends {
			if i != j {
				p := from.packet(7, fmt.Sprintf("from %d to all", i))
				to.hears(p, func() { all(); from.send(p) })
			}
		}
	}
	for range ends {
		st := w.next("a new SSRC", func(st *stanza.Stanza) bool { return st.Type == "set" && st.Has(NS, "conference") })
		ch := st.Child(NS, "conference").Child(NS, "content").Child(NS, "channel")
		if st.To.String() != alice || st.Child(NS, "conference").Attr("id") != id || !slices.Contains([]string{"101", "102", "103"}, ch.Child(NS, "ssrc").Text()) {
			t.Errorf("told: %s", st)
		}
	}
	// held: bob neither sends nor hears
	held := fmt.Sprintf("<channel id='%s' direction='inactive'/>", chans[1].Attr("id"))
	if _, c := w.allocate(alice, id, "audio", held); c[0].Attr("direction") != "inactive" {
		t.Errorf("held: %v", c[0].Attrs)
	}
	p := ends[0].packet(9, "while bob is held")
	ends[2].hears(p, func() { ends[1].send(ends[1].packet(9, "held")); ends[0].send(p) })
	_ = ends[1].rtp.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 1500)
	for {
		n, err := ends[1].rtp.Read(buf)
		if err != nil {
			break
		}
		if bytes.Equal(buf[:n], p) {
			t.Fatal("bob hears though he is held")
		}
	}
}

// TestICE: a channel by ICE has two components, and takes media from an address that proved to know the password.
func TestICE(t *testing.T) {
	w := newWorld(t, nil)
	const ice = "<channel endpoint='%s' initiator='%v'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='%s' pwd='%s'/></channel>"
	id, chans := w.allocate(alice, "", "video", fmt.Sprintf(ice, alice, true, "afrag", "apwdapwdapwdapwdapwdapwd"), fmt.Sprintf(ice, "bob@meet.example/x", true, "", ""))
	bob := fmt.Sprintf("<channel id='%s' initiator='true'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='bfrag' pwd='bpwdbpwdbpwdbpwdbpwdbpwd'/></channel>", chans[1].Attr("id"))
	if r := w.ask(alice, "set", "<conference xmlns='"+NS+"' id='"+id+"'><content name='video'>"+bob+"</content></conference>"); r.Type != "result" {
		t.Fatalf("update: %s", r)
	}
	a, b := w.end(1, chans[0]), w.end(2, chans[1])
	if !a.to.IsValid() || !a.rtcp.IsValid() || a.to == a.rtcp {
		t.Errorf("components %v %v", a.to, a.rtcp)
	}
	check := func(e *end, ch *stanza.Element, frag string) {
		tr := ch.Child(jingle.NSICE, "transport")
		m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(tr.Attr("ufrag")+":"+frag),
			iceControlled(1), stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{0, 0, 1, 0}}, stun.NewShortTermIntegrity(tr.Attr("pwd")), stun.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		e.send(m.Raw)
	}
	p := b.packet(5, "by ICE")
	a.hears(p, func() { check(a, chans[0], "afrag"); check(b, chans[1], "bfrag"); b.send(p) })
}

// iceControlled is the attribute of a controlled agent (RFC 8445 §16.1).
type iceControlled uint64

func (c iceControlled) AddTo(m *stun.Message) error {
	m.Add(stun.AttrICEControlled, binary.BigEndian.AppendUint64(nil, uint64(c)))
	return nil
}

func TestExpire(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Idle = 50 * time.Millisecond })
	id, chans := w.allocate(alice, "", "audio", fmt.Sprintf(rawChannel, alice, false), "<channel endpoint='b' initiator='true' expire='1'/>")
	if chans[1].Attr("expire") != "1" {
		t.Errorf("%v", chans[1].Attrs)
	}
	// the silent one ends by itself, and its focus is told
	st := w.next("the end of a channel", func(st *stanza.Stanza) bool { return st.Type == "set" && st.Has(NS, "conference") })
	if ch := st.Child(NS, "conference").Child(NS, "content").Child(NS, "channel"); ch.Attr("id") != chans[1].Attr("id") || ch.Attr("expire") != "0" {
		t.Errorf("told: %s", st)
	}
	_, c := w.allocate(alice, id, "audio", fmt.Sprintf("<channel id='%s' expire='0'/>", chans[0].Attr("id")))
	if c[0].Attr("expire") != "0" {
		t.Errorf("%v", c[0].Attrs)
	}
	for late := time.Now().Add(patience); w.s.Counters()["conferences"] != 0; {
		if time.Now().After(late) {
			t.Fatal("the conference stays without channels")
		}
		w.ask(alice, "get", "<query xmlns='"+nsDisco+"'/>")
	}
	if n := w.s.Counters()["channels"]; n != 0 {
		t.Errorf("%d channels left", n)
	}
}

// TestRefusals: each bad request gets an error of its kind, and changes nothing.
func TestRefusals(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PerUser = 1 })
	id, chans := w.allocate(alice, "", "audio", fmt.Sprintf(rawChannel, alice, false))
	one := chans[0].Attr("id")
	for payload, want := range map[string]string{
		"<conference xmlns='" + NS + "'><content name='audio'/></conference>":                                                                                                                                         "resource-constraint",
		"<conference xmlns='" + NS + "' id='none'><content name='audio'/></conference>":                                                                                                                               "item-not-found",
		"<conference xmlns='" + NS + "' id='" + id + "'><content/></conference>":                                                                                                                                      "bad-request",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel id='none'/></content></conference>":                                                                                            "item-not-found",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel rtp-level-relay-type='mixer'/></content></conference>":                                                                         "feature-not-implemented",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel direction='up'/></content></conference>":                                                                                       "bad-request",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel expire='-1'/></content></conference>":                                                                                          "bad-request",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel initiator='maybe'/></content></conference>":                                                                                    "bad-request",
		"<conference xmlns='" + NS + "' id='" + id + "'><content name='audio'><channel id='" + one + "'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'/></channel></content></conference>": "not-acceptable",
		"<query xmlns='urn:x'/>": "feature-not-implemented",
	} {
		if r := w.ask(alice, "set", payload); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, want) == nil {
			t.Errorf("%s: %s, want %s", payload, r, want)
		}
	}
	if r := w.ask("alice@meet.example/other", "set", "<conference xmlns='"+NS+"' id='"+id+"'/>"); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "item-not-found") == nil {
		t.Errorf("somebody else's conference: %s", r)
	}
	if r := w.ask("eve@elsewhere.example/x", "get", "<conference xmlns='"+NS+"'/>"); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "forbidden") == nil {
		t.Errorf("a stranger: %s", r)
	}
	if n := w.s.Counters(); n["conferences"] != 1 || n["channels"] != 1 {
		t.Errorf("left %v", n)
	}
}

// TestFlood: a client makes conferences and channels and expires them all the time, and more than it may. What it has no right to is refused and
// counted, nothing is left of the rest, and the conference of another goes on.
func TestFlood(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PerUser = 3 })
	const mallory = "mallory@meet.example/x"
	id, chans := w.allocate(alice, "", "audio", fmt.Sprintf(rawChannel, alice, false), fmt.Sprintf(rawChannel, "bob@meet.example/y", true))
	a, b := w.end(11, chans[0]), w.end(22, chans[1])
	goesOn := func() {
		t.Helper()
		p := b.packet(7, "to a")
		a.hears(p, func() { a.send(a.packet(1, "latch")); b.send(p) })
	}
	goesOn()
	own := fmt.Sprintf(rawChannel, mallory, false)
	theirs, _ := w.allocate(mallory, "", "audio")
	refused := func(want, payload string) {
		t.Helper()
		if r := w.ask(mallory, "set", payload); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, want) == nil {
			t.Fatalf("%s: %s, want %s", payload, r, want)
		}
	}
	for range 100 {
		_, made := w.allocate(mallory, theirs, "audio", own)
		w.allocate(mallory, theirs, "audio", "<channel id='"+made[0].Attr("id")+"' expire='0'/>")
		refused("item-not-found", "<conference xmlns='"+NS+"' id='"+id+"'><content name='audio'><channel id='"+chans[0].Attr("id")+"' expire='0'/></content></conference>")
		refused("item-not-found", "<conference xmlns='"+NS+"' id='"+theirs+"'><content name='audio'><channel id='"+chans[0].Attr("id")+"' expire='0'/></content></conference>")
	}
	for range 2 {
		w.allocate(mallory, "", "audio", own)
	}
	for range 50 {
		refused("resource-constraint", "<conference xmlns='"+NS+"'><content name='audio'>"+own+"</content></conference>")
	}
	if n := w.s.Counters(); n["refused_total"] != 250 || n["conferences"] != 4 || n["channels"] != 4 {
		t.Errorf("left %v", n)
	}
	goesOn()
}

func TestDisco(t *testing.T) {
	w := newWorld(t, nil)
	r := w.ask(alice, "get", "<query xmlns='"+nsDisco+"'/>")
	for _, f := range []string{NS, "urn:xmpp:jingle:transports:ice-udp:1", nsRaw} {
		if !slices.ContainsFunc(r.Child(nsDisco, "query").ChildrenNamed(nsDisco, "feature"), func(e *stanza.Element) bool { return e.Attr("var") == f }) {
			t.Errorf("no feature %s: %s", f, r)
		}
	}
}

// FuzzParse: no request panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte("<conference xmlns='http://jitsi.org/protocol/colibri'><content name='audio'>" + fmt.Sprintf(rawChannel, alice, true) + "</content></conference>"))
	f.Add([]byte("<conference xmlns='http://jitsi.org/protocol/colibri' id='1'><content name='video'><channel id='2' expire='0' direction='sendonly'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='a' pwd='b'><candidate component='2' ip='::1' port='1' priority='1' protocol='udp' type='host'/></transport></channel></content></conference>"))
	f.Add([]byte(bundleRequest(" id='1'", "aaaa", "bbbb")))
	f.Add([]byte("<conference xmlns='http://jitsi.org/protocol/colibri' id='1'><content name='data'><sctpconnection endpoint='a' channel-bundle-id='a'/></content><channel-bundle id='a'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='a' pwd='b'/></channel-bundle></conference>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if el, err := stanza.ParseElement(b); err == nil {
			if r, err := parse(el); err == nil && len(r.contents) > maxContents {
				t.Error("over the limit")
			}
		}
	})
}
