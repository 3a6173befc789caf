package meet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"
)

// call is one Jingle session with its PeerConnection. Only the session goroutine changes it, but for what a mutex guards.
type call struct {
	s         *Session
	pc        *webrtc.PeerConnection
	ctx       context.Context
	cancel    context.CancelFunc
	sections  []Section
	known     map[uint32]int // SSRC of a source to its section
	version   int
	local     []LocalSource
	audio     *audioGen
	startOnce sync.Once

	mu  sync.Mutex // guards vid
	vid []*video
}

func (k *call) videos() []*video {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.vid
}

func (k *call) addVideo(v *video) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vid = append(k.vid[:len(k.vid):len(k.vid)], v)
}

// add gives a remote source a place in the SDP. The bridge's own sources go into the first sections, all others get their own. It
// reports whether something changed.
func (k *call) add(r Remote) bool {
	if _, ok := k.known[r.SSRC]; ok {
		return false
	}
	if r.Owner == "jvb" {
		i := 0
		if r.Kind == "video" {
			i = 1
		}
		k.known[r.SSRC] = i
		return false // pion needs no SSRC for its receiver reports
	}
	k.known[r.SSRC] = len(k.sections)
	k.sections = append(k.sections, Section{Kind: r.Kind, Direction: "sendonly", Remotes: []Remote{r}})
	return true
}

// remove takes a remote source out.
func (k *call) remove(ssrc uint32) bool {
	i, ok := k.known[ssrc]
	if !ok || len(k.sections[i].Remotes) == 0 {
		return false
	}
	delete(k.known, ssrc)
	k.sections[i].Remotes, k.sections[i].Direction = nil, "inactive"
	return true
}

// negotiate brings the PeerConnection in line with the sections and returns the answer.
func (k *call) negotiate() (string, error) {
	k.version++
	offer := k.s.Offer(k.sections, k.version)
	if err := k.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("meet: remote offer: %w", err)
	}
	a, err := k.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("meet: answer: %w", err)
	}
	if err := k.pc.SetLocalDescription(a); err != nil {
		return "", fmt.Errorf("meet: local answer: %w", err)
	}
	return a.SDP, nil
}

func (c *Client) closeCall(k *call) {
	if k == nil {
		return
	}
	k.cancel()
	if k.pc == nil {
		c.cfg.Media.Stop()
		return
	}
	if err := k.pc.Close(); err != nil {
		c.log.Debug("close peer connection", "err", err)
	}
}

// session runs posted work, in order, until the client ends: everything that changes the call.
func (c *Client) session() {
	defer func() { c.closeCall(c.call) }()
	for {
		select {
		case <-c.ctx.Done():
			return
		case f := <-c.work:
			f(c.ctx)
		}
	}
}

// post hands work to the session goroutine. When the queue is full the client is ended: its picture of the session would be wrong.
func (c *Client) post(f func(ctx context.Context)) {
	select {
	case c.work <- f:
	default:
		c.fail(fmt.Errorf("meet: more than %d session events wait", workQueue))
	}
}

// jingle handles an acknowledged Jingle request.
func (c *Client) jingle(ctx context.Context, from string, j *Element) {
	s, err := parseJingle(j)
	if err != nil {
		c.note(err.Error())
		return
	}
	switch action := j.Attr("action"); action {
	case "session-initiate":
		if err := c.initiate(ctx, from, s); err != nil {
			c.fail(err)
		}
	case "source-add":
		c.sourcesChanged(s.Remotes(), true)
	case "source-remove":
		c.sourcesChanged(s.Remotes(), false)
	case "session-terminate":
		c.closeCall(c.call)
		c.call = nil
		c.mu.Lock()
		c.terminated++
		c.mu.Unlock()
	case "transport-info", "session-info":
	default:
		c.note("Jingle action " + action)
	}
}

// initiate answers a session-initiate.
func (c *Client) initiate(ctx context.Context, from string, s *Session) error {
	c.step("session-initiate")
	c.closeCall(c.call)
	c.call = nil
	if s.Content("audio") == nil || s.Content("video") == nil {
		return fmt.Errorf("meet: session without audio or video")
	}
	s.Video = c.cfg.Video
	k, err := c.newCall(s)
	if err != nil {
		return err
	}
	c.call = k
	c.names(s.Remotes())
	if c.cfg.Media != nil {
		return c.handOver(ctx, from, k)
	}
	answer, err := k.negotiate()
	if err != nil {
		return err
	}
	accept, err := s.Accept(c.jid, answer, k.local, c.cfg.Constraints.LastN)
	if err != nil {
		return err
	}
	if _, err := c.iq(ctx, from, "set", accept); err != nil {
		return fmt.Errorf("meet: session-accept: %w", err)
	}
	return c.accepted(ctx, k)
}

// newCall makes the call of a session, with a PeerConnection unless the media go elsewhere.
func (c *Client) newCall(s *Session) (*call, error) {
	if c.cfg.Media == nil {
		return c.connect(s)
	}
	k := &call{s: s, known: make(map[uint32]int)}
	k.ctx, k.cancel = context.WithCancel(c.ctx)
	return k, nil
}

// handOver answers a session whose media go to Config.Media.
func (c *Client) handOver(ctx context.Context, from string, k *call) error {
	t, local, err := c.cfg.Media.Start(c.id, k.s)
	if err != nil {
		return err
	}
	k.local = local
	if _, err := c.iq(ctx, from, "set", k.s.accept(c.jid, t, local, c.cfg.Constraints.LastN)); err != nil {
		return fmt.Errorf("meet: session-accept: %w", err)
	}
	return c.accepted(ctx, k)
}

// accepted opens the bridge channel, unless SCTP does.
func (c *Client) accepted(ctx context.Context, k *call) error {
	s := k.s
	c.step("session-accept")
	if ct := s.Content("data"); (ct == nil || ct.SCTPPort == 0) && s.Contents[0].Transport.WebSocket != "" {
		return c.openBridgeSocket(ctx, k, s.Contents[0].Transport.WebSocket)
	}
	return nil
}

// openBridgeSocket opens the bridge channel over WebSocket.
func (c *Client) openBridgeSocket(ctx context.Context, k *call, url string) error {
	if err := c.cfg.checkURL(url); err != nil {
		return err
	}
	cn, err := dialBridge(ctx, url, c.cfg.Insecure)
	if err != nil {
		return fmt.Errorf("meet: bridge channel: %w", err)
	}
	c.mu.Lock()
	c.bridgeSend = func(b []byte) error {
		ctx, cancel := context.WithTimeout(k.ctx, 5*time.Second)
		defer cancel()
		return cn.Write(ctx, websocket.MessageText, b)
	}
	c.mu.Unlock()
	c.wg.Go(func() {
		defer func() { _ = cn.CloseNow() }()
		for {
			_, b, err := cn.Read(k.ctx)
			if err != nil {
				return
			}
			c.bridgeReceived(b)
		}
	})
	c.channelOpen()
	return nil
}

// names remembers who is behind an SSRC.
func (c *Client) names(rs []Remote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rs {
		if r.Owner != "jvb" {
			c.source[r.SSRC] = r.Source
		}
	}
}

func (c *Client) sourcesChanged(rs []Remote, added bool) {
	k := c.call
	if k == nil || k.pc == nil {
		return
	}
	changed := false
	for _, r := range rs {
		if r.Kind == "" {
			continue
		}
		if added {
			changed = k.add(r) || changed
		} else {
			changed = k.remove(r.SSRC) || changed
		}
	}
	if added {
		c.names(rs)
	}
	if !changed {
		return
	}
	if _, err := k.negotiate(); err != nil {
		c.fail(err)
	}
}

// sourcesMapped takes a source map of a rewriting bridge.
func (c *Client) sourcesMapped(_ context.Context, kind string, ms []Mapping) {
	var rs []Remote
	for _, m := range ms {
		if m.SSRC <= 0 || m.SSRC > 1<<32-1 {
			c.note(fmt.Sprintf("SSRC %d in a source map", m.SSRC))
			continue
		}
		r := Remote{Source: Source{SSRC: uint32(m.SSRC), Name: m.Source, Owner: m.Owner, Kind: kind, Desktop: m.VideoType == "DESKTOP" || m.VideoType == "desktop"}}
		if kind == "video" && m.RTX > 0 && m.RTX <= 1<<32-1 {
			r.RTX = uint32(m.RTX)
		}
		rs = append(rs, r)
	}
	c.sourcesChanged(rs, true)
}

// ShareScreen adds a desktop source to the running call (source-add, with a second video source).
func (c *Client) ShareScreen(ctx context.Context) error { return c.await(ctx, c.shareScreen) }

// await runs f on the client's loop and gives its error.
func (c *Client) await(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	c.post(func(ctx context.Context) { done <- f(ctx) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

func (c *Client) shareScreen(ctx context.Context) error {
	k := c.call
	if k == nil || k.pc == nil {
		return fmt.Errorf("meet: no session of its own")
	}
	name := c.id + "-v1"
	for _, v := range k.videos() {
		if v.name == name {
			return fmt.Errorf("meet: screen is shared already")
		}
	}
	if _, err := c.addVideo(k, name, true); err != nil {
		return err
	}
	k.sections = append(k.sections, Section{Kind: "video", Direction: "recvonly"})
	if _, err := k.negotiate(); err != nil {
		return err
	}
	c.mu.Lock()
	c.screen = true
	c.mu.Unlock()
	if err := c.conn.send(ctx, c.presence(false)); err != nil {
		return err
	}
	_, err := c.iq(ctx, c.cfg.room()+"/focus", "set", k.s.SourceChange("source-add", k.local[len(k.local)-1]))
	if err != nil {
		return fmt.Errorf("meet: source-add: %w", err)
	}
	c.sendBridge([]byte(fmt.Sprintf(`{"colibriClass":"SourceVideoTypeMessage","sourceName":%q,"videoType":"desktop"}`, name)))
	return nil
}

// StopScreen takes the desktop source out of the call (source-remove).
func (c *Client) StopScreen(ctx context.Context) error { return c.await(ctx, c.stopScreen) }

func (c *Client) stopScreen(ctx context.Context) error {
	k := c.call
	if k == nil {
		return nil
	}
	for _, v := range k.videos() {
		if v.name == c.id+"-v1" {
			v.on.Store(false)
		}
	}
	for i, l := range k.local {
		if l.Name == c.id+"-v1" {
			k.local = append(k.local[:i], k.local[i+1:]...)
			_, err := c.iq(ctx, c.cfg.room()+"/focus", "set", k.s.SourceChange("source-remove", l))
			return err
		}
	}
	return nil
}
