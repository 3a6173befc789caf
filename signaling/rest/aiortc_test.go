package rest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"konzil/sfu"
	"konzil/signaling/bridge"
)

// Debian's aiortc, another implementation of ICE, DTLS, SRTP and SCTP.
const (
	python = "/usr/bin/python3"
	aiortc = "/usr/lib/python3/dist-packages/aiortc"
)

// TestAiortc: two endpoints of another media stack meet on a bridge that is driven over HTTP: audio and video both ways, receiver reports,
// messages over data channels.
func TestAiortc(t *testing.T) {
	for _, file := range []string{python, aiortc} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("Debian package python3-aiortc is not installed (%s is missing): run `make deps` as root", file)
		}
	}
	c := sfu.DefaultConfig()
	c.Listen, c.Shards = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 1
	engine, err := sfu.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	b := bridge.New(engine, bridge.Config{}, slog.New(slog.DiscardHandler))
	defer b.Close()
	server := httptest.NewServer(New(b, Config{}, slog.New(slog.DiscardHandler)))
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, python, "testdata/endpoints.py", server.URL+Path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
