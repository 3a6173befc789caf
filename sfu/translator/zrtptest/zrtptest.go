// Package zrtptest has real ZRTP stacks (libbzrtp, with libsrtp) for tests: two processes that agree on keys over whatever carries their
// datagrams.
package zrtptest

import (
	"bytes"
	_ "embed"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Packets are what each end sends: RTP, and a tenth of it RTCP.
const Packets = 100

//go:embed testdata/zrtpend.c
var source []byte

// build compiles an end; without the libraries the test is skipped.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	for _, header := range []string{"/usr/include/bzrtp/bzrtp.h", "/usr/include/srtp2/srtp.h"} {
		if _, err := os.Stat(header); err != nil {
			t.Skip("libbzrtp-dev and libsrtp2-dev are not installed (make deps)")
		}
	}
	dir := t.TempDir()
	bin, text := filepath.Join(dir, "zrtpend"), filepath.Join(dir, "zrtpend.c")
	if err := os.WriteFile(text, source, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-O1", "-o", bin, text, "-lbzrtp", "-lbctoolbox", "-lsrtp2").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return bin
}

// end is what one end printed.
type end struct {
	sas       string
	sent, got []string
	plain     string
}

func parse(t *testing.T, out string) (e end) {
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

// Run lets two ends talk, each to its ports for RTP and RTCP. They must agree on keys and see the same SAS, and the SRTP and SRTCP that they key
// must arrive bit for bit.
func Run(t *testing.T, ports [2][2]netip.AddrPort) {
	t.Helper()
	bin := build(t)
	var outs [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i, p := range ports {
		cmds[i] = exec.Command(bin, p[0].Addr().String(), strconv.Itoa(int(p[0].Port())), strconv.Itoa(int(p[1].Port())), strconv.Itoa(1000+i), strconv.Itoa(Packets))
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], os.Stderr
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmds[i].Process.Kill() })
	}
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i].String())
		}
	}
	a, b := parse(t, outs[0].String()), parse(t, outs[1].String())
	t.Logf("SAS %q and %q; %d and %d packets sent, decrypted %s and %s", a.sas, b.sas, len(a.sent), len(b.sent), a.plain, b.plain)
	if a.sas == "" || a.sas != b.sas {
		t.Errorf("SAS %q and %q", a.sas, b.sas)
	}
	if n := Packets * 11 / 10; len(a.sent) != n || len(b.sent) != n || !slices.Equal(a.sent, b.got) || !slices.Equal(b.sent, a.got) {
		t.Errorf("sent %d and %d, got %d and %d: not the same", len(a.sent), len(b.sent), len(b.got), len(a.got))
	}
	if want := strconv.Itoa(Packets) + " " + strconv.Itoa(Packets/10); a.plain != want || b.plain != want {
		t.Errorf("decrypted %s and %s (RTP, RTCP) instead of %s", a.plain, b.plain, want)
	}
}
