package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"konzil/internal/proctest"

	"github.com/chromedp/chromedp"
)

// suite is what all tests share; each part is made when first needed.
var suite struct {
	temp string // of the binary and the browser's profile

	build    sync.Once
	binary   string
	buildErr error

	start      sync.Once
	browser    context.Context
	stop       func()
	browserErr error
}

func TestMain(m *testing.M) {
	temp, err := os.MkdirTemp("", "konzil-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	suite.temp = temp
	code := m.Run()
	if suite.stop != nil {
		suite.stop()
	}
	os.RemoveAll(temp)
	os.Exit(code)
}

// binary builds konzil, unless $KONZIL_BINARY names one.
func binary(t *testing.T) string {
	t.Helper()
	suite.build.Do(func() {
		if suite.binary = os.Getenv("KONZIL_BINARY"); suite.binary != "" {
			return // a build with -race, or of another version
		}
		suite.binary = filepath.Join(suite.temp, "konzil")
		if suite.buildErr = touchSources(); suite.buildErr != nil {
			return
		}
		suite.buildErr = proctest.Build(suite.binary)
	})
	if suite.buildErr != nil {
		t.Fatal(suite.buildErr)
	}
	return suite.binary
}

// touchSources looks at every source file of the module: go test then knows that a result depends on them, and does not answer from
// its cache when the server changed and this package did not.
func touchSources() error {
	return filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "artifacts" || d.Name() == "data") {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go", ".mod", ".sum", ".js", ".css", ".html", ".sql":
			_, err = os.Stat(path)
		}
		return err
	})
}

// browser starts the one browser of the run, or skips the test where none is installed. One that does not start is a failure.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser")
	}
	suite.start.Do(startBrowser)
	if errors.Is(suite.browserErr, errNoBrowser) {
		t.Skip(suite.browserErr)
	}
	if suite.browserErr != nil {
		t.Fatal(suite.browserErr)
	}
	return suite.browser
}

func startBrowser() {
	path, err := chromium()
	if err != nil {
		suite.browserErr = err
		return
	}
	flag := chromedp.Flag
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path),
		chromedp.Headless,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.UserDataDir(filepath.Join(suite.temp, "profile")),
		chromedp.WindowSize(1280, 800),
		flag("no-sandbox", true), // CI runs as root
		flag("disable-gpu", true),
		flag("disable-dev-shm-usage", true),
		flag("disable-quic", true),
		flag("disable-background-networking", true),
		flag("disable-component-update", true),
		flag("disable-sync", true),
		flag("disable-extensions", true),
		flag("disable-background-timer-throttling", true),
		flag("disable-backgrounding-occluded-windows", true),
		flag("disable-renderer-backgrounding", true),
		flag("mute-audio", true),
		flag("hide-scrollbars", true),
		flag("lang", "en"),
		flag("ignore-certificate-errors", true), // the server's certificate is self-signed
		flag("allow-loopback-in-peer-connection", true),
		flag("autoplay-policy", "no-user-gesture-required"),
		flag("use-fake-ui-for-media-stream", true),
		flag("use-fake-device-for-media-stream", "display-media-type=monitor"),
	)
	ctx, cancel := chromedp.NewContext(allocator)
	late := time.AfterFunc(30*time.Second, cancel) // the first context is the browser's life: it can have no deadline
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		cancelAllocator()
		suite.browserErr = fmt.Errorf("chromium does not start: %w", err)
		return
	}
	suite.browser = ctx
	suite.stop = func() {
		cancel()
		cancelAllocator()
	}
}

// errNoBrowser: no Chromium is installed, the one reason to skip.
var errNoBrowser = errors.New("no Chromium is installed: run `make deps` as root on Debian")

// chromium finds a browser.
func chromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoBrowser
}
