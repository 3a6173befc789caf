package lab

import (
	"os/exec"
	"strings"
	"testing"

	"konzil/internal/proctest"
)

const python = "/usr/bin/python3"

// script runs a Python script of testdata to its end and gives the steps that it says went right.
func script(t *testing.T, name string, args ...string) map[string]bool {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import slixmpp").CombinedOutput(); err != nil {
		t.Skipf("python3-slixmpp is not installed: %s", out)
	}
	p := &proctest.Process{Name: name}
	if err := p.Start(exec.Command("timeout", append([]string{"60", python, "testdata/" + name}, args...)...)); err != nil {
		t.Fatal(err)
	}
	code := p.Wait()
	steps := map[string]bool{}
	for line := range strings.Lines(p.Log.String()) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "ok "); ok {
			steps[s] = true
		}
	}
	if code != 0 {
		t.Errorf("%s has ended with %d", name, code)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Log.String())
		}
	})
	return steps
}

func wantSteps(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	for _, w := range want {
		if !got[w] {
			t.Errorf("not right: %s", w)
		}
	}
}

// TestComponent: a slixmpp component with privileges and a delegated namespace (XEP-0114, XEP-0356, XEP-0355).
func TestComponent(t *testing.T) {
	needLab(t)
	newKonzil(t, zoneK, []string{"alice", "bob"}, `  components:
    listen: [`+zoneK.addr+`]
    list:
      - {domain: gw.k.zone, secret: secret-of-gw, roster: both, message: true, presence: managed_entity,
         iq: {"http://jabber.org/protocol/disco#items": get}, delegate: ["urn:example:delegated"]}
`)
	wantSteps(t, script(t, "component.py", zoneK.addr, zoneK.domain), "refused", "privileges", "presence", "messages", "roster", "message for an account",
		"iq for an account", "iq forbidden", "delegation", "forged")
}
