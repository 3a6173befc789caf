//go:build linux

package browsertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"konzil/internal/proctest"
)

// What `make impair` sets beside ours: a LiveKit server of this machine, with LiveKit's own client in both pages.

const (
	livekitClient = "livekit-client@2.23.0" // from the npm registry, at test time
	livekitKey    = "impair"
	livekitSecret = "impair-secret-impair-secret-impair"
)

// livekitConfig gets: port, address, ports of TCP media and UDP, address, device, key, secret. Both browsers reach the one address: the
// publisher over the loopback, the watcher over the path. Congestion control is on by default.
const livekitConfig = `port: %d
bind_addresses: ["%s"]
log_level: error
logging: {level: error, pion_level: error}
rtc:
  tcp_port: %d
  udp_port: %d
  node_ip: %s
  use_external_ip: false
  interfaces: {includes: [%s]}
keys: {%s: %s}
room: {auto_create: true}
`

// livekitPage publishes and watches with what livekit-client does by default, but for: the rates of the layers, which are those that
// Chromium gives munged simulcast (our page), so that both links carry the same; and a receiver that always wants the top.
const livekitPage = `
const made = [];
const Native = window.RTCPeerConnection;
let seen = null;
window.RTCPeerConnection = class extends Native {
  constructor(...a) { super(...a); made.push(this); this.addEventListener('track', e => { if (e.track.kind == 'video') seen = this; }); }
};
function inbound() { return seen || made[made.length - 1]; }
function all() { return made; }
async function meet(url, token, send) {
  const L = LivekitClient;
  const preset = (w, h, rate) => new L.VideoPreset(w, h, rate, 30);
  const room = window.room = new L.Room({adaptiveStream: false, dynacast: false, publishDefaults: {
    videoCodec: 'vp8', simulcast: true, red: false, dtx: false,
    videoEncoding: {maxBitrate: 2500000, maxFramerate: 30},
    videoSimulcastLayers: [preset(320, 180, 200000), preset(640, 360, 700000)]}});
  room.on(L.RoomEvent.TrackSubscribed, t => document.documentElement.append(t.attach()));
  await room.connect(url, token);
  const s = await navigator.mediaDevices.getUserMedia({audio: true, video: send && {width: 1280, height: 720, frameRate: 30}});
  for (const t of s.getTracks()) await room.localParticipant.publishTrack(t, {source: t.kind == 'video' ? L.Track.Source.Camera : L.Track.Source.Microphone});
  return 'published';
}
`

// livekit is a LiveKit server as a process of its own.
type livekit struct {
	script string // of livekit-client
	dev    string // the device of the path
	url    string
}

// newLiveKit fetches the client; an error says what is missing.
func newLiveKit(t *testing.T, dev string) (*livekit, error) {
	t.Helper()
	if _, err := exec.LookPath("livekit-server"); err != nil {
		return nil, errors.New("livekit-server is not installed")
	}
	script, err := fetchNPM(t.TempDir(), livekitClient, "package/dist/livekit-client.umd.js")
	if err != nil {
		return nil, err
	}
	return &livekit{script: script, dev: dev}, nil
}

// fetchNPM gives one file of an npm package.
func fetchNPM(dir, name, file string) (string, error) {
	cmd := exec.Command("npm", "pack", "--silent", name)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s: %w %s", name, err, bytes.TrimSpace(out))
	}
	balls, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(balls) != 1 {
		return "", fmt.Errorf("npm pack %s: %d files %w", name, len(balls), err)
	}
	f, err := os.Open(balls[0])
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", file, name, err)
		}
		if h.Name == file {
			text, err := io.ReadAll(r)
			return string(text), err
		}
	}
}

func (l *livekit) name() string { return "livekit" }
func (l *livekit) page() string { return l.script + "\n" + livekitPage }

func (l *livekit) start(t *testing.T, far netip.Addr) {
	dir := t.TempDir()
	ports, err := proctest.FreePorts(far.String(), 3)
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(livekitConfig, ports[0], far, ports[1], ports[2], far, l.dev, livekitKey, livekitSecret)
	file := filepath.Join(dir, "livekit.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	server := &proctest.Process{Name: "livekit-server"}
	if err := server.Start(exec.Command("livekit-server", "--config", file)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Kill()
		if t.Failed() {
			t.Log(server.Log.String())
		}
	})
	at := netip.AddrPortFrom(far, uint16(ports[0])).String()
	l.url = "ws://" + at
	if err := server.Listening(at); err != nil {
		t.Fatal(err)
	}
}

func (l *livekit) publish(t *testing.T, call func(string, ...any) string) {
	call("meet(%s, %s, true)", l.url, livekitToken("send"))
}

func (l *livekit) watch(t *testing.T, call func(string, ...any) string) {
	call("meet(%s, %s, false)", l.url, livekitToken("recv"))
}

func (l *livekit) explain() string { return "" }

// livekitToken is an access token: a JWT (RFC 7519) with HS256.
func livekitToken(identity string) string {
	b64 := base64.RawURLEncoding
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"nbf":%d,"exp":%d,"video":{"room":"impair","roomJoin":true,"canPublish":true,"canSubscribe":true}}`,
		livekitKey, identity, time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix())
	signed := b64.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(livekitSecret))
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}
