package sfu

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	pionrtp "github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	"konzil/internal/udpio"
	"konzil/sfu/ice"
	"konzil/sfu/keying"
	"konzil/sfu/rtp"
)

// loadScene is one traffic pattern of BenchmarkServer.
type loadScene struct {
	name       string
	publishers int
	mesh       bool // publishers receive each other
	receivers  int
	perFrame   int // video packets of 1200 bytes a frame at 30 frames a second; 0: no video
	cipher     dtls.SRTPProtectionProfile
	every      time.Duration // between frames; 0: videoEvery
	silent     bool          // no audio
	idle       bool          // no media at all
}

const (
	videoEvery  = time.Second / 30
	audioEvery  = 20 * time.Millisecond
	videoBytes  = 1200 // whole RTP packet
	audioBytes  = 112
	loadProbes  = 2 // receivers that open what they get and measure latency
	loadSweep   = 2 * time.Millisecond
	loadSettles = 1500 * time.Millisecond
)

// loadPeer is a client with real ICE and DTLS; what it gets is counted below decryption, so that the generator costs little.
type loadPeer struct {
	id    string
	index int
	sock  *udpio.Conn // of publishers and probes
	fd    int         // of all others: a socket that nobody waits on
	w     *udpio.Writer
	ice   sync.Mutex // guards agent and io
	agent *ice.Agent
	io    stunIO
	pipe  *keying.Pipe
	to    netip.AddrPort
	conn  *dtls.Conn

	mu  sync.Mutex // guards both
	enc *srtp.Context
	dec *srtp.Context

	media atomic.Uint64 // RTP packets that came in
	first atomic.Int64  // when the first came, ns of load.now

	probe  bool
	videoN uint16
	audioN uint16
	pic    uint16
	buf    [64][]byte
}

// load is the generator of one scene.
type load struct {
	t        testing.TB
	child    *loadChild
	scene    loadScene
	identity keying.Identity
	epoch    time.Time
	peers    []*loadPeer
	joins    []int64     // ns from asking for an endpoint to SRTP keys, one after another
	idle     []*loadPeer // sockets only
	stop     chan struct{}
	wg       sync.WaitGroup
	sent     atomic.Uint64 // media packets that publishers sent, times their receivers

	mu     sync.Mutex // guards delays and sweepers' list
	delays []int64
	list   []*loadPeer
}

// pause lets the load run for a while: what is measured is a stretch of time.
func pause(d time.Duration) { <-time.After(d) }

func (l *load) every() time.Duration { return cmp.Or(l.scene.every, videoEvery) }

func (l *load) now() int64 { return int64(time.Since(l.epoch)) }

func newLoad(t testing.TB, scene loadScene, child *loadChild) *load {
	l := &load{t: t, scene: scene, epoch: time.Now(), stop: make(chan struct{}), child: child}
	var err error
	l.identity, err = keying.NewIdentity()
	must(t, err)
	l.wg.Go(l.sweep)
	return l
}

func (l *load) close() {
	close(l.stop)
	for _, p := range l.peers {
		if p.sock != nil {
			_ = p.sock.Close()
		}
	}
	l.wg.Wait()
	for _, p := range l.idle {
		_ = unix.Close(p.fd)
	}
	for _, p := range l.peers {
		_ = p.conn.Close()
		_ = p.pipe.Close()
		if p.sock == nil {
			_ = unix.Close(p.fd)
		}
	}
}

// open makes the client's socket.
func (l *load) open(p *loadPeer, sends bool) (local netip.AddrPort) {
	any4 := netip.MustParseAddrPort("127.0.0.1:0")
	var err error
	if sends || p.probe {
		p.sock, err = udpio.Listen(any4, udpio.Options{ReadBuffer: 4 << 20, WriteBuf: 4 << 20, NoOffload: true})
		must(l.t, err)
		p.w = p.sock.NewWriter()
		return p.sock.LocalAddr()
	}
	p.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	must(l.t, err)
	must(l.t, unix.Bind(p.fd, &unix.SockaddrInet4{Addr: any4.Addr().As4()}))
	_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	sa, err := unix.Getsockname(p.fd)
	must(l.t, err)
	return netip.AddrPortFrom(any4.Addr(), uint16(sa.(*unix.SockaddrInet4).Port))
}

// write sends one datagram to the server.
func (p *loadPeer) write(b []byte) {
	if p.sock != nil {
		_ = p.sock.WriteTo(b, p.to)
		return
	}
	_ = unix.Sendto(p.fd, b, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: p.to.Addr().As4(), Port: int(p.to.Port())})
}

// stun gives one message of the server to the client's agent, nil: what is due.
func (l *load) stun(p *loadPeer, b []byte) {
	p.ice.Lock()
	defer p.ice.Unlock()
	if now := l.now(); b == nil {
		p.agent.Tick(now, &p.io.out)
	} else if p.io.msg.Parse(b) {
		p.agent.Handle(&p.io.msg, 0, p.to, false, now, &p.io.out)
	}
	for _, d := range p.io.out.List {
		p.write(d.B)
	}
	p.io.out.Reset()
}

func (p *loadPeer) audioSSRC() uint32 { return uint32(1000 + 10*p.index) }
func (p *loadPeer) videoSSRC() uint32 { return uint32(1001 + 10*p.index) }

// join lets a client in and waits until its keys are there.
func (l *load) join(id string, sends, probe bool) *loadPeer {
	p := &loadPeer{id: id, index: len(l.peers), probe: probe}
	var err error
	addr := l.open(p, sends)
	for i := range p.buf {
		p.buf[i] = make([]byte, 1500)
	}
	p.agent = ice.NewAgent(ice.Config{Locals: []netip.AddrPort{addr}, Timeout: int64(30 * time.Second), Rand: randomWord, NewID: func() (id ice.TxID) {
		_, _ = cryptorand.Read(id[:])
		return id
	}})
	l.peers = append(l.peers, p)
	asked := time.Now()
	local := l.child.call(loadReq{Op: "add", ID: id}).T
	p.to = local.Candidates[0].Addr
	p.pipe = keying.NewPipe(p.write)
	if p.sock != nil {
		l.wg.Go(func() { l.readProbe(p) })
	} else {
		l.mu.Lock()
		l.list = append(l.list, p)
		l.mu.Unlock()
	}
	own := p.agent.Local()
	req := loadReq{Op: "remote", ID: id, Receives: true, T: Transport{
		Ufrag: own.Ufrag, Pwd: own.Pwd, Setup: "active", Fingerprints: []Fingerprint{{Hash: "sha-256", Value: l.identity.Fingerprint}},
	}}
	if sends {
		req.Sources = append(req.Sources, Source{Name: id + "-a0", Kind: Audio, SSRCs: []uint32{p.audioSSRC()}})
		if l.scene.perFrame > 0 {
			req.Sources = append(req.Sources, Source{Name: id + "-v0", Kind: Video, SSRCs: []uint32{p.videoSSRC()}, RTX: []uint32{p.videoSSRC() + 1}})
		}
		req.Receives = l.scene.mesh
	}
	l.child.call(req)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.ice.Lock()
	p.agent.SetRemote(ice.Credentials{Ufrag: local.Ufrag, Pwd: local.Pwd}, l.now())
	p.agent.AddRemote(p.to, local.Candidates[0].Priority, false, l.now())
	p.ice.Unlock()
	l.stun(p, nil)
	p.conn, err = dtls.ClientWithOptions(p.pipe, p.pipe.LocalAddr(),
		dtls.WithCertificates(l.identity.Certificate), dtls.WithSRTPProtectionProfiles(l.scene.cipher), dtls.WithInsecureSkipVerify(true),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret), dtls.WithFlightInterval(50*time.Millisecond))
	must(l.t, err)
	must(l.t, p.conn.HandshakeContext(ctx))
	st, _ := p.conn.ConnectionState()
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(l.scene.cipher)}
	must(l.t, cfg.ExtractSessionKeysFromDTLS(&st, true))
	enc, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	must(l.t, err)
	dec, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	must(l.t, err)
	p.mu.Lock()
	p.enc, p.dec = enc, dec
	p.mu.Unlock()
	l.joins = append(l.joins, int64(time.Since(asked)))
	return p
}

// take handles one datagram of the server.
func (l *load) take(p *loadPeer, b []byte) {
	switch classOf(b) {
	case classSTUN:
		l.stun(p, b)
	case classDTLS:
		if p.pipe != nil {
			p.pipe.Push(b)
		}
	case classMedia:
		if rtp.IsRTCP(b) {
			return
		}
		if p.media.Add(1) == 1 {
			p.first.Store(l.now())
		}
	}
}

// sweep reads all sockets by turns: nobody waits in the kernel, so the server does not pay for waking anybody.
func (l *load) sweep() {
	runtime.LockOSThread()
	buf := make([]byte, 2048)
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		start := time.Now()
		l.mu.Lock()
		list := l.list
		l.mu.Unlock()
		for _, p := range list {
			for {
				n, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(p.fd), uintptr(addrOf(buf)), uintptr(len(buf)), unix.MSG_DONTWAIT, 0, 0)
				if e != 0 {
					break
				}
				l.take(p, buf[:n])
			}
			if p.agent != nil { // not of sockets that only take in
				l.stun(p, nil)
			}
		}
		if d := loadSweep - time.Since(start); d > 0 {
			pause(d)
		}
	}
}

// readProbe reads one socket as soon as something is there, and measures how old it is.
func (l *load) readProbe(p *loadPeer) {
	r := p.sock.NewReader()
	for {
		pkts, err := r.Read()
		if err != nil {
			return
		}
		now := l.now()
		for _, k := range pkts {
			l.take(p, k.Data)
			if classOf(k.Data) != classMedia || rtp.IsRTCP(k.Data) {
				continue
			}
			p.mu.Lock()
			dec := p.dec
			p.mu.Unlock()
			if dec == nil || !p.probe {
				continue
			}
			plain, err := dec.DecryptRTP(nil, k.Data, nil)
			if err != nil || len(plain) < 20 {
				continue
			}
			d := now - int64(binary.BigEndian.Uint64(plain[len(plain)-8:]))
			l.mu.Lock()
			l.delays = append(l.delays, d)
			l.mu.Unlock()
		}
	}
}

// packet writes and protects one packet with its time of sending at the end.
func (l *load) packet(p *loadPeer, slot int, h *pionrtp.Header, payload []byte, size int) []byte {
	_ = h.SetExtension(extTWCC, []byte{0, 0})
	if h.PayloadType == ptOpus {
		_ = h.SetExtension(extLevel, []byte{0x80 | 25})
	}
	var plain [1500]byte
	n, err := h.MarshalTo(plain[:])
	must(l.t, err)
	copy(plain[n:], payload)
	binary.BigEndian.PutUint64(plain[size-8:], uint64(l.now()))
	out, err := p.enc.EncryptRTP(p.buf[slot][:0], plain[:size], h)
	must(l.t, err)
	return out
}

// play sends one publisher's media: each frame as one burst.
func (l *load) play(p *loadPeer, phase time.Duration) {
	start := time.Now().Add(phase)
	nextV, nextA := start, start.Add(7*time.Millisecond)
	fan := uint64(l.scene.receivers)
	if l.scene.mesh {
		fan += uint64(l.scene.publishers - 1)
	}
	for {
		next := nextA
		video := l.scene.silent || l.scene.perFrame > 0 && nextV.Before(nextA)
		if video {
			next = nextV
		}
		select {
		case <-l.stop:
			return
		case <-time.After(time.Until(next)):
		}
		p.mu.Lock()
		n := 0
		if video {
			nextV = nextV.Add(l.every())
			for i := range l.scene.perFrame {
				d := []byte{0x80, 0xE0, 0x80 | byte(p.pic>>8&0x7f), byte(p.pic), byte(p.pic), 0, 0x11}
				if i == 0 {
					d[0] |= 0x10
					if p.pic%300 == 0 { // a keyframe
						d = append(d[:6], 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02)
					}
				}
				p.videoN++
				p.w.Add(p.to, l.packet(p, n, &pionrtp.Header{
					Version: 2, PayloadType: ptVP8, SSRC: p.videoSSRC(), SequenceNumber: p.videoN, Timestamp: uint32(p.pic) * 3000,
					Marker: i == l.scene.perFrame-1,
				}, d, videoBytes))
				n++
			}
			p.pic++
		} else {
			nextA = nextA.Add(audioEvery)
			p.audioN++
			p.w.Add(p.to, l.packet(p, n, &pionrtp.Header{
				Version: 2, PayloadType: ptOpus, SSRC: p.audioSSRC(), SequenceNumber: p.audioN, Timestamp: uint32(p.audioN) * 960,
			}, nil, audioBytes))
			n++
		}
		p.w.Flush()
		p.mu.Unlock()
		l.sent.Add(uint64(n) * fan)
	}
}

// reports sends a receiver report of each client each second.
func (l *load) reports() {
	t := time.NewTicker(time.Second / 50)
	defer t.Stop()
	var buf [1500]byte
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-t.C:
		}
		for j, p := range l.peers {
			if j%50 != i%50 {
				continue
			}
			blocks := []rtp.ReportBlock{{SSRC: l.peers[0].audioSSRC()}, {SSRC: l.peers[0].videoSSRC()}}
			rr := rtp.AppendRR(nil, uint32(500000+j), blocks)
			p.mu.Lock()
			out, err := p.enc.EncryptRTCP(buf[:0], rr, nil)
			if err == nil {
				p.write(out)
			}
			p.mu.Unlock()
		}
	}
}

func (l *load) received() (n uint64) {
	for _, p := range l.peers {
		n += p.media.Load()
	}
	return n
}

// quantile of sorted values.
func quantile(d []int64, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	return float64(d[min(int(q*float64(len(d))), len(d)-1)]) / 1e6
}

// BenchmarkServer measures a whole SFU in a process of its own, on one core, by real clients (ICE, DTLS, SRTP) over real sockets at low rates:
// packets that arrived per second of the server's CPU time, delivery, and the time from the sender's send call to the receiver's read.
// Each round is one second. Run it alone: go test -run - -bench Server -benchtime 5x ./sfu.
func BenchmarkServer(b *testing.B) {
	gcm, cm, gcm256 := dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_256_GCM
	for _, sc := range []loadScene{
		{name: "1x100", publishers: 1, receivers: 100, perFrame: 7, cipher: gcm},
		{name: "video-1x100", publishers: 1, receivers: 100, perFrame: 7, silent: true, cipher: gcm},
		{name: "idle-1x100", publishers: 1, receivers: 100, idle: true, cipher: gcm},
		{name: "audio-1x100", publishers: 1, receivers: 100, cipher: gcm},
		{name: "1x200", publishers: 1, receivers: 200, perFrame: 7, cipher: gcm},
		{name: "1x200-4M", publishers: 1, receivers: 200, perFrame: 14, cipher: gcm},
		{name: "room-10x10", publishers: 10, mesh: true, receivers: 1, perFrame: 7, cipher: gcm},
		{name: "audio-10x500", publishers: 10, receivers: 500, cipher: gcm},
		{name: "audio-10x100", publishers: 10, receivers: 100, cipher: gcm},
		{name: "1x100-cm", publishers: 1, receivers: 100, perFrame: 7, cipher: cm},
		{name: "1x100-gcm256", publishers: 1, receivers: 100, perFrame: 7, cipher: gcm256},
		{name: "audio-10x100-cm", publishers: 10, receivers: 100, cipher: cm},
	} {
		b.Run(sc.name, func(b *testing.B) { _ = benchServer(b, sc) })
	}
}

func benchServer(b *testing.B, sc loadScene) (packetsPerSecond float64) {
	child := startLoadChild(b)
	defer child.close()
	l := newLoad(b, sc, child)
	defer l.close()
	var pubs []*loadPeer
	for i := range sc.publishers {
		pubs = append(pubs, l.join(fmt.Sprintf("pub%d", i), true, false))
	}
	before := child.call(loadReq{Op: "stat", GC: true})
	for i := range sc.receivers {
		l.join(fmt.Sprintf("rcv%d", i), false, i < loadProbes)
	}
	after := child.call(loadReq{Op: "stat"})
	for i, p := range pubs {
		if sc.idle {
			break
		}
		l.wg.Go(func() { l.play(p, time.Duration(i)*videoEvery/time.Duration(len(pubs))) })
	}
	l.wg.Go(l.reports)
	pause(loadSettles)
	child.call(loadReq{Op: "profile"})
	l.mu.Lock()
	l.delays = nil
	l.mu.Unlock()
	s0 := child.call(loadReq{Op: "stat"})
	sent0, got0 := l.sent.Load(), l.received()
	start := time.Now()
	for b.Loop() {
		pause(time.Second)
	}
	took := time.Since(start)
	s1 := child.call(loadReq{Op: "stat"})
	sent1, got1 := l.sent.Load(), l.received()
	after.RSS = child.call(loadReq{Op: "stat", GC: true}).RSS
	l.mu.Lock()
	d := slices.Clone(l.delays)
	l.mu.Unlock()
	slices.Sort(d)
	cpu := float64(s1.CPU-s0.CPU) / 1e9
	out := float64(s1.Counters["packets_out"] - s0.Counters["packets_out"])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(after.RSS-before.RSS)/1024/float64(sc.receivers), "KB/receiver")
	b.ReportMetric(float64(after.CPU-before.CPU)/1e6/float64(sc.receivers), "cpu-ms/join")
	b.ReportMetric(float64(got1-got0)/cpu, "packets/cpu-s")
	b.ReportMetric(100*cpu/took.Seconds(), "cpu-%")
	b.ReportMetric(100*float64(got1-got0)/float64(sent1-sent0), "delivered-%")
	b.ReportMetric(out/float64(s1.Counters["send_calls"]-s0.Counters["send_calls"]), "packets/call")
	b.ReportMetric(out/float64(s1.Counters["send_messages"]-s0.Counters["send_messages"]), "packets/run")
	slices.Sort(l.joins)
	b.ReportMetric(quantile(l.joins, 0.5), "join-p50-ms")
	b.ReportMetric(quantile(l.joins, 0.95), "join-p95-ms")
	b.ReportMetric(quantile(d, 0.5), "p50-ms")
	b.ReportMetric(quantile(d, 0.99), "p99-ms")
	if b.N > 1 {
		for k, v := range s1.Counters {
			if v != s0.Counters[k] && len(k) > 4 && k[:4] == "drop" {
				b.Logf("%s %d", k, v-s0.Counters[k])
			}
		}
	}
	return float64(got1-got0) / cpu
}
