package opaque

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// zrtpPackets are what each end sends: RTP, and a tenth of it RTCP.
const zrtpPackets = 100

// buildEnd compiles testdata/zrtpend.c.
func buildEnd(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	for _, header := range []string{"/usr/include/bzrtp/bzrtp.h", "/usr/include/srtp2/srtp.h"} {
		if _, err := os.Stat(header); err != nil {
			t.Skip("libbzrtp-dev and libsrtp2-dev are not installed (make deps)")
		}
	}
	bin := filepath.Join(t.TempDir(), "zrtpend")
	out, err := exec.Command("cc", "-O1", "-o", bin, "testdata/zrtpend.c", "-lbzrtp", "-lbctoolbox", "-lsrtp2").CombinedOutput()
	if err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return bin
}

// zrtpEnd is what one end printed.
type zrtpEnd struct {
	sas       string
	sent, got []string
	plain     string
}

func parseEnd(t *testing.T, out string) (e zrtpEnd) {
	t.Helper()
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "sas":
			e.sas = rest
		case "sent":
			e.sent = append(e.sent, rest)
		case "got":
			e.got = append(e.got, rest)
		case "plain":
			e.plain = rest
		case "error":
			t.Fatal(rest)
		}
	}
	slices.Sort(e.sent)
	slices.Sort(e.got)
	return e
}

// Two processes with real ZRTP stacks agree on keys through the relay and see the same SAS; the SRTP and SRTCP that they key arrive
// bit for bit.
func TestZRTP(t *testing.T) {
	bin := buildEnd(t)
	w := newWorld(t, nil)
	var outs [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i, id := range []string{"a", "b"} {
		rtp, rtcp := ports(w.add(ChannelConfig{ID: id}))
		cmds[i] = exec.Command(bin, rtp.Addr().String(), strconv.Itoa(int(rtp.Port())), strconv.Itoa(int(rtcp.Port())), strconv.Itoa(1000+i), strconv.Itoa(zrtpPackets))
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], os.Stderr
		must(t, cmds[i].Start())
		t.Cleanup(func() { _ = cmds[i].Process.Kill() })
	}
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i].String())
		}
	}
	a, b := parseEnd(t, outs[0].String()), parseEnd(t, outs[1].String())
	t.Logf("SAS %q and %q; %d and %d packets sent, decrypted %s and %s", a.sas, b.sas, len(a.sent), len(b.sent), a.plain, b.plain)
	if a.sas == "" || a.sas != b.sas {
		t.Errorf("SAS %q and %q", a.sas, b.sas)
	}
	if n := zrtpPackets * 11 / 10; len(a.sent) != n || len(b.sent) != n || !slices.Equal(a.sent, b.got) || !slices.Equal(b.sent, a.got) {
		t.Errorf("sent %d and %d, got %d and %d: not the same", len(a.sent), len(b.sent), len(b.got), len(a.got))
	}
	if want := strconv.Itoa(zrtpPackets) + " " + strconv.Itoa(zrtpPackets/10); a.plain != want || b.plain != want {
		t.Errorf("decrypted %s and %s (RTP, RTCP) instead of %s", a.plain, b.plain, want)
	}
	if n := w.s.Counters(); n["zrtp"] < 10 {
		t.Errorf("%v", n)
	}
}
