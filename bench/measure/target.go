package measure

import "strconv"

// Target is a server under load: attached to, or started by bench.
type Target struct {
	Name    string            // konzil, livekit, janus, coturn, ...
	Version string            // as it says itself
	Config  map[string]string // what matters of its configuration, file name or setting to text; part of the report
	Command string            // how it was started, empty when attached

	// Addr is where it listens, by what the loads need: "ws" (XMPP or signalling WebSocket URL), "xmpp" (host:port with STARTTLS), "xmpps"
	// (direct TLS), "rest" (URL), "turn", "turn-tcp", "turns" (host:port). "media" is the IP address of this machine that its media come from, when it is not on
	// the loopback.
	Addr map[string]string
	// Domain is the XMPP domain or TURN realm. Guest is the domain for anonymous users, Rooms the room service, Focus the focus.
	Domain, Guest, Rooms, Focus string
	// Accounts says how accounts are named: user i of n has the name AccountName(i) and the password AccountPassword. Secret is a TURN REST or
	// signing secret, Key an API key.
	Accounts    int
	Secret, Key string

	Other *Target // the second server of a pair, whose processes are among PIDs; nil: there is none

	PIDs   []int  // processes whose CPU time and memory count; their children count too
	Cgroup string // cgroup v2 directory that counts instead of PIDs, when not empty

	Stop func() error // ends a server that bench started; nil when attached
}

// AccountPassword is the password of every account that is made for a bench.
const AccountPassword = "bench-password"

// AccountName is the localpart of account i, counted from 0; a target with fewer accounts starts over, so that one has several sessions.
func (t *Target) AccountName(i int) string {
	if t.Accounts > 0 {
		i %= t.Accounts
	}
	return "bench" + strconv.Itoa(i)
}
