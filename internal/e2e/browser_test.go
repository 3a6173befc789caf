package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"konzil/internal/proctest"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// person is somebody in front of a browser: a browser context with one page.
type person struct {
	t    *testing.T
	name string
	ctx  context.Context
	log  *proctest.Log // console of the page
	quit func()
}

// stats is what konzil.stats() gives.
type stats struct {
	Inbound map[string]struct {
		Kind          string
		SSRC          uint32
		FramesDecoded int
		Width, Height int
		AudioEnergy   float64
		Bytes         int64
	}
	Outbound map[string][]struct {
		SSRC                         uint32
		Width, Height, FramesEncoded int
		Active                       bool
	}
	Path *struct {
		Local, Remote, Protocol string
		Relay                   *string
	}
}

// newPerson opens an empty page in a context of its own.
func newPerson(t *testing.T, name string) *person {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	p := &person{t: t, name: name, ctx: ctx, log: &proctest.Log{}, quit: cancel}
	t.Cleanup(func() {
		if t.Failed() {
			p.t = t
			p.screenshot("failed-" + p.name)
			last, _ := tryEval[json.RawMessage](p, "window.konzil?.stats?.()")
			t.Logf("%s: last numbers %s\nconsole:\n%s", name, last, p.log)
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil { // opens the tab; it lives as long as this context, so no deadline
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, p.console); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *person) console(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		var parts []string
		for _, a := range ev.Args {
			parts = append(parts, strings.TrimSpace(string(a.Value)+" "+a.Description))
		}
		fmt.Fprintf(p.log, "%s: %s\n", ev.Type, strings.Join(parts, " "))
	case *runtime.EventExceptionThrown:
		fmt.Fprintf(p.log, "exception: %s", ev.ExceptionDetails.Text)
		if x := ev.ExceptionDetails.Exception; x != nil {
			fmt.Fprintf(p.log, " %s", x.Description)
		}
		fmt.Fprintln(p.log)
	}
}

// do runs steps that should not take long.
func (p *person) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// eval runs JavaScript in the page, waits for promises, and decodes the result.
func eval[T any](p *person, expression string) T {
	p.t.Helper()
	v, err := tryEval[T](p, expression)
	if err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, expression, err)
	}
	return v
}

func tryEval[T any](p *person, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	var v T
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return v, err
	}
	if len(raw) == 0 {
		return v, nil
	}
	return v, json.Unmarshal(raw, &v)
}

// until waits for an expression to become true.
func (p *person) until(limit time.Duration, what, expression string) {
	p.t.Helper()
	eventually(p.t, limit, p.name+": "+what, func() (bool, error) { return tryEval[bool](p, "Boolean("+expression+")") })
}

// stats asks the page for its numbers until ok likes them.
func (p *person) stats(limit time.Duration, what string, ok func(stats) bool) stats {
	p.t.Helper()
	var s stats
	eventually(p.t, limit, p.name+": "+what, func() (bool, error) {
		var err error
		if s, err = tryEval[stats](p, "konzil.stats()"); err != nil {
			return false, err
		}
		b, _ := json.Marshal(s)
		return ok(s), fmt.Errorf("last: %s", b)
	})
	return s
}

// join opens a meeting and goes through its door.
func (p *person) join(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
	p.enter()
}

// enter fills in the door's form and waits to be in the room.
func (p *person) enter() {
	p.t.Helper()
	p.until(15*time.Second, "camera and microphone are there", "window.konzil?.media?.tracks.a0 && konzil.media.tracks.v0")
	p.do(chromedp.SetValue(chromedp.CSS("#name"), p.name), chromedp.Click(chromedp.CSS("#join")))
	p.until(20*time.Second, "joined", "konzil.state === 'joined'")
}

// id is the endpoint id in the meeting.
func (p *person) id() string {
	p.t.Helper()
	return eval[string](p, "konzil.conference.id")
}

// press presses and releases a key: a letter, or the name of a key. No character is typed: a page that handles the key would prevent
// that, and the protocol of the browser would send it all the same.
func (p *person) press(key string) {
	p.t.Helper()
	p.key(input.DispatchKeyEventTypeRawKeyDown, key)
	p.key(input.DispatchKeyEventTypeKeyUp, key)
}

func (p *person) key(what input.DispatchKeyEventType, key string) {
	p.t.Helper()
	code, ok := map[string]int64{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}[key]
	if !ok {
		code = int64(strings.ToUpper(key)[0])
	}
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.Call(ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: what, Key: key, WindowsVirtualKeyCode: code, NativeVirtualKeyCode: code}); err != nil {
		p.t.Fatalf("%s: key %q: %v", p.name, key, err)
	}
}

// click clicks an element as soon as it can be clicked; one that the page draws anew meanwhile is looked for again.
func (p *person) click(css string) {
	p.t.Helper()
	eventually(p.t, 20*time.Second, p.name+": click on "+css, func() (bool, error) {
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		defer cancel()
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(css)))
		return err == nil, err
	})
}

// item opens the menu of a button and takes the entry with that text.
func (p *person) item(button, text string) {
	p.t.Helper()
	p.until(20*time.Second, fmt.Sprintf("the entry %s of %s", text, button), fmt.Sprintf(`(() => {
		const b = document.querySelector(%q);
		if (!b || document.querySelector('dialog[open]:not(:has(.menu))')?.contains(b) === false) return false;
		if (b.getAttribute('aria-expanded') !== 'true') b.click();
		const entry = [...document.querySelectorAll('.menu button')].find((e) => [e.textContent, e.getAttribute('aria-label')].includes(%q));
		entry?.click();
		return Boolean(entry);
	})()`, button, text))
}

// receives: media of every other person arrive, and go on arriving.
func (p *person) receives(others ...*person) {
	p.t.Helper()
	before := map[string]int{}
	for _, o := range others {
		video, audio := o.id()+"-v0", o.id()+"-a0"
		s := p.stats(25*time.Second, "video and audio of "+o.name, func(s stats) bool {
			return s.Inbound[video].FramesDecoded > 0 && s.Inbound[audio].AudioEnergy > 0
		})
		before[video] = s.Inbound[video].FramesDecoded
	}
	for video, n := range before {
		p.stats(20*time.Second, "more frames of "+video, func(s stats) bool { return s.Inbound[video].FramesDecoded > n+10 })
	}
}

// hears: sound of every other person arrives, and goes on arriving.
func (p *person) hears(others ...*person) {
	p.t.Helper()
	for _, o := range others {
		audio, before := o.id()+"-a0", -1.0
		p.stats(25*time.Second, "the sound of "+o.name, func(s stats) bool {
			in, ok := s.Inbound[audio]
			if ok && before < 0 {
				before = in.AudioEnergy
			}
			return ok && in.AudioEnergy > before
		})
	}
}

// look sets window size and colour scheme.
func (p *person) look(width, height int64, scheme string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// screenshot keeps a picture of the page, after two frames were drawn.
func (p *person) screenshot(name string) {
	p.t.Helper()
	eval[bool](p, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatalf("screenshot of %s: %v", p.name, err)
	}
	if err := os.WriteFile(artifact(p.t, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
