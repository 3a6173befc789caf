package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"konzil/internal/proctest"

	"github.com/coder/websocket"
)

// fox is somebody in front of a Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), which Firefox speaks itself.
type fox struct {
	t       *testing.T
	name    string
	conn    *websocket.Conn
	context string // browsing context
	log     *proctest.Log
	next    int
}

// foxPrefs: fake camera and microphone, no questions, media over loopback.
const foxPrefs = `
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.proxy.type", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("intl.accept_languages", "en");
user_pref("dom.min_background_timeout_value", 4);
`

// newFox starts a Firefox of its own with an empty profile.
func newFox(t *testing.T, name string) *fox {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser")
	}
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		if path, err = exec.LookPath("firefox"); err != nil {
			t.Skip("no Firefox is installed: run `make deps` as root on Debian")
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(foxPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-remote", "--profile", dir, "--remote-debugging-port", "0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+dir, "MOZ_DISABLE_CONTENT_SANDBOX=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &fox{t: t, name: name, log: &proctest.Log{}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for in := bufio.NewScanner(io.TeeReader(stderr, f.log)); in.Scan(); {
			if _, a, ok := strings.Cut(in.Text(), "WebDriver BiDi listening on "); ok {
				address <- a
			}
		}
	}()
	t.Cleanup(func() {
		var last json.RawMessage
		if f.conn != nil {
			if t.Failed() {
				last, _ = tryFox[json.RawMessage](f, "window.konzil?.stats?.() ?? null")
			}
			f.conn.CloseNow()
		}
		cmd.Process.Kill()
		<-read
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: last numbers %s\n%s", name, last, f.log)
		}
	})
	select {
	case a := <-address:
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if f.conn, _, err = websocket.Dial(ctx, a+"/session", nil); err != nil {
			t.Fatal(err)
		}
		f.conn.SetReadLimit(16 << 20)
	case <-time.After(60 * time.Second):
		t.Fatal("Firefox does not start")
	}
	f.must("session.new", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}}})
	var tree struct {
		Contexts []struct{ Context string }
	}
	if err := json.Unmarshal(f.must("browsingContext.getTree", map[string]any{}), &tree); err != nil || len(tree.Contexts) == 0 {
		t.Fatalf("no page: %v", err)
	}
	f.context = tree.Contexts[0].Context
	return f
}

// command sends a BiDi command and waits for its result.
func (f *fox) command(method string, params map[string]any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	f.next++
	out, err := json.Marshal(map[string]any{"id": f.next, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	if err := f.conn.Write(ctx, websocket.MessageText, out); err != nil {
		return nil, err
	}
	for {
		_, in, err := f.conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		var answer struct {
			ID             *int
			Type           string
			Result         json.RawMessage
			Error, Message string
		}
		if err := json.Unmarshal(in, &answer); err != nil {
			return nil, err
		}
		if answer.ID == nil || *answer.ID != f.next {
			continue // an event
		}
		if answer.Type == "error" {
			return nil, fmt.Errorf("%s: %s", answer.Error, answer.Message)
		}
		return answer.Result, nil
	}
}

func (f *fox) must(method string, params map[string]any) json.RawMessage {
	f.t.Helper()
	out, err := f.command(method, params)
	if err != nil {
		f.t.Fatalf("%s: %s: %v", f.name, method, err)
	}
	return out
}

// tryFox runs JavaScript in the page, waits for promises, and decodes the result.
func tryFox[T any](f *fox, expression string) (v T, err error) {
	raw, err := f.command("script.evaluate", map[string]any{
		"expression":   "(async () => JSON.stringify(await (" + expression + ")) ?? 'null')()",
		"target":       map[string]any{"context": f.context},
		"awaitPromise": true,
	})
	if err != nil {
		return v, err
	}
	var out struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return v, err
	}
	if out.Type != "success" {
		return v, errors.New(out.ExceptionDetails.Text)
	}
	return v, json.Unmarshal([]byte(out.Result.Value), &v)
}

func foxEval[T any](f *fox, expression string) T {
	f.t.Helper()
	v, err := tryFox[T](f, expression)
	if err != nil {
		f.t.Fatalf("%s: %s: %v", f.name, expression, err)
	}
	return v
}

func (f *fox) until(limit time.Duration, what, expression string) {
	f.t.Helper()
	eventually(f.t, limit, f.name+": "+what, func() (bool, error) { return tryFox[bool](f, "Boolean("+expression+")") })
}

// stats asks the page for its numbers until ok likes them.
func (f *fox) stats(limit time.Duration, what string, ok func(stats) bool) stats {
	f.t.Helper()
	var s stats
	eventually(f.t, limit, f.name+": "+what, func() (bool, error) {
		var err error
		if s, err = tryFox[stats](f, "konzil.stats()"); err != nil {
			return false, err
		}
		b, _ := json.Marshal(s)
		return ok(s), fmt.Errorf("last: %s", b)
	})
	return s
}

// join opens a meeting and goes through its lobby.
func (f *fox) join(url string) {
	f.t.Helper()
	f.must("browsingContext.navigate", map[string]any{"context": f.context, "url": url, "wait": "complete"})
	f.until(15*time.Second, "camera and microphone are there", "window.konzil?.media?.tracks.a0 && konzil.media.tracks.v0")
	foxEval[bool](f, fmt.Sprintf("(document.querySelector('#name').value = %q, document.querySelector('#join').click(), true)", f.name))
	f.until(20*time.Second, "joined", "konzil.state === 'joined'")
}

func (f *fox) id() string {
	f.t.Helper()
	return foxEval[string](f, "konzil.conference.id")
}

// TestFirefox: Firefox and Chromium see and hear each other, and Chromium gets a low and then the top simulcast layer of Firefox's camera, 720 lines.
func TestFirefox(t *testing.T) {
	s := startServer(t)
	ada, grace := newPerson(t, "Ada"), newFox(t, "Grace")
	url := s.url + "/firefox"
	ada.join(url)
	grace.join(url)
	adas, graces := ada.id(), grace.id()
	video := graces + "-v0"
	ada.stats(30*time.Second, "a small picture and audio of Firefox", func(s stats) bool {
		in := s.Inbound[video]
		return in.FramesDecoded > 30 && in.Height <= 360 && s.Inbound[graces+"-a0"].AudioEnergy > 0
	})
	grace.stats(30*time.Second, "video and audio of Chromium", func(s stats) bool {
		return s.Inbound[adas+"-v0"].FramesDecoded > 30 && s.Inbound[adas+"-a0"].AudioEnergy > 0
	})
	eval[bool](ada, "(konzil.media.setCamera(false), true)") // the processor is for Firefox's
	foxEval[bool](grace, keepSizes)
	ada.click(fmt.Sprintf(".tile[data-key=%q] .tile-button", video))
	ada.stats(60*time.Second, "the camera in full size", func(s stats) bool { return s.Inbound[video].Height == 720 })
}

// keepSizes has the page ask for full sizes at the price of frames from now on: by itself it asks for a balance, and on a busy processor all
// layers are made smaller then.
const keepSizes = `(() => {
	const set = RTCRtpSender.prototype.setParameters;
	RTCRtpSender.prototype.setParameters = function (p) {
		return set.call(this, p.degradationPreference ? { ...p, degradationPreference: 'maintain-resolution' } : p);
	};
	return true;
})()`

// TestFirefoxEarlyAudio: sound that comes before Firefox has applied the offer which tells of it is not tied to its own microphone's m-line for good.
func TestFirefoxEarlyAudio(t *testing.T) {
	s := startServer(t)
	grace, ada := newFox(t, "Grace"), newPerson(t, "Ada")
	url := s.url + "/early"
	grace.join(url)
	foxEval[bool](grace, slowToLearn)
	ada.join(url)
	eval[bool](ada, "(konzil.media.setCamera(false), true)")
	audio := ada.id() + "-a0"
	sent := ada.stats(30*time.Second, "sound is sent", func(s stats) bool { return len(s.Outbound[audio]) == 1 }).Outbound[audio][0]
	grace.stats(40*time.Second, "the sound of Chromium, as its own", func(s stats) bool {
		in := s.Inbound[audio]
		return in.SSRC == sent.SSRC && in.AudioEnergy > 0
	})
}

// slowToLearn has the page answer a source-add at once, and apply it three seconds after media can come.
const slowToLearn = `(async () => {
	konzil.media.setCamera(false); // the processor is for sound
	const app = [...document.scripts].find((s) => s.src.includes('app.js')).src;
	const { MediaSession } = await import(new URL('proto/session.js', app));
	const apply = MediaSession.prototype.addSources;
	MediaSession.prototype.addSources = function (sources) {
		const late = () => (this.pc.connectionState === 'connected' ? setTimeout(() => apply.call(this, sources), 3000) : setTimeout(late, 100));
		late();
	};
	return true;
})()`
