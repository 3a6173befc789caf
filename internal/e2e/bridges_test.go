package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"konzil/internal/proctest"
)

// startBridge runs `konzil bridge` for a server, under an account of that name.
func startBridge(t *testing.T, s *server, name string) *proctest.Process {
	t.Helper()
	s.addUser(name, "secret-"+name)
	dir, ports := t.TempDir(), proctest.Ports(t, 2)
	file := filepath.Join(dir, "bridge.yaml")
	config := fmt.Sprintf("domain: localhost\ndata: %q\nlisten: [127.0.0.1]\nhttp: {port: %d}\nmedia: {port: %d}\nlog: {level: debug}\n"+
		"bridge:\n  region: lab\n  join:\n    - {server: '127.0.0.1:%d', account: %s@localhost, password: secret-%s, room: jvbbrewery@internal.localhost, nick: %s, any_certificate: true}\n",
		filepath.Join(dir, "data"), ports[0], ports[1], s.xmppPort, name, name, name)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	bridge := &proctest.Process{Name: "bridge " + name}
	if err := bridge.Start(exec.Command(binary(t), "bridge", "-config", file)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bridge.End(syscall.SIGTERM) // the test may have killed it
		if t.Failed() {
			t.Logf("%s:\n%s", bridge.Name, &bridge.Log)
		}
	})
	eventually(t, 15*time.Second, "the bridge is in the brewery", func() (bool, error) {
		return strings.Contains(s.log.String(), "bridge came") && strings.Contains(s.log.String(), "bridge="+name), nil
	})
	return bridge
}

// TestBridgesElsewhere: a server without a bridge of its own meets on bridges in other processes; one of them is killed in mid-meeting, and
// the meeting goes on with the other.
func TestBridgesElsewhere(t *testing.T) {
	s := startServer(t, "bridge:\n  accounts: [one, two]\n  own: never\n")
	bridges := map[string]*proctest.Process{"one": startBridge(t, s, "one"), "two": startBridge(t, s, "two")}
	ada, grace := newPerson(t, "Ada"), newPerson(t, "Grace")
	ada.join(s.url + "/spread")
	grace.join(s.url + "/spread")
	ada.receives(grace)
	grace.receives(ada)
	used := ""
	for name := range bridges {
		if placed(s, name) {
			used += name
		}
	}
	if bridges[used] == nil {
		t.Fatalf("the conference is on %q", used)
	}
	bridges[used].Kill()
	other := map[string]string{"one": "two", "two": "one"}[used]
	eventually(t, 60*time.Second, "the conference is on the other bridge", func() (bool, error) { return placed(s, other), nil })
	ada.receives(grace)
	grace.receives(ada)
}

// TestConferenceOverBridges: three are in one meeting on two bridges in two processes, and see and hear each other over the relay between them. A
// bridge is killed, and the meeting goes on with the other.
func TestConferenceOverBridges(t *testing.T) {
	s := startServer(t, "bridge:\n  accounts: [one, two]\n  own: never\n  max_endpoints: 2\n")
	bridges := map[string]*proctest.Process{"one": startBridge(t, s, "one"), "two": startBridge(t, s, "two")}
	people := []*person{newPerson(t, "Ada"), newPerson(t, "Grace"), newPerson(t, "Joan")}
	for _, p := range people {
		p.join(s.url + "/wide")
	}
	all := func() {
		t.Helper()
		for i, p := range people {
			p.receives(people[(i+1)%3], people[(i+2)%3])
		}
	}
	all()
	if !placed(s, "one") || !placed(s, "two") || !strings.Contains(s.log.String(), "bridges linked") {
		t.Fatal("the conference is not on both bridges")
	}
	bridges["one"].Kill()
	eventually(t, 30*time.Second, "the bridge is missed", func() (bool, error) { return strings.Contains(s.log.String(), "bridge left"), nil })
	all()
}

// placed tells whether a conference was given to a bridge.
func placed(s *server, name string) bool {
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, "conference placed") && strings.HasSuffix(line, "bridge="+name) {
			return true
		}
	}
	return false
}
