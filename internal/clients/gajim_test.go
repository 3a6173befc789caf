package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// nbxmpp is Gajim's protocol library in Debian.
const nbxmpp = "/usr/lib/python3/dist-packages/nbxmpp"

// TestGajim runs testdata/gajim.py: what two people do with Gajim, by its protocol library.
func TestGajim(t *testing.T) {
	for _, file := range []string{python, nbxmpp} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("Debian package python3-nbxmpp is not installed (%s is missing): run `make deps` as root", file)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, filepath.Join("testdata", "gajim.py"), domain, strconv.Itoa(shared.port), strconv.Itoa(shared.tlsPort),
		filepath.Join(filepath.Dir(shared.ca), "cert.pem"), shared.ca, "ivan", "judy")
	cmd.Env = append(os.Environ(), "GIO_USE_PROXY_RESOLVER=dummy", "GSETTINGS_BACKEND=memory")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("gajim.py: %v", err)
	}
	for _, step := range []string{"refused", "login", "roster", "chat", "room", "archive", "room_archive", "upload", "avatar", "bookmarks", "block", "resume"} {
		if !strings.Contains(string(out), "ok "+step+"\n") {
			t.Errorf("%s did not go right", step)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
