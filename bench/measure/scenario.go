package measure

import (
	"flag"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"konzil/bench/clock"
)

// Scenario is one kind of load as the command line knows it: `konzil bench NAME`.
type Scenario struct {
	Name    string   // sfu, turn, xmpp, call
	Summary string   // one line for the usage
	Servers []string // names in package peers that it can drive; the first one is the default

	// Flags adds the scenario's own flags to fs, which has the common ones already. The function that it returns is called after parsing
	// and says what is to be done; its errors are wrong use (exit code 2).
	Flags func(fs *flag.FlagSet) func(*Common) (*Plan, error)
}

// Common is what the common flags say that a load must heed.
type Common struct {
	Fault     *Fault       // damage to do to what was received; nil-safe, see Fault
	AnyTarget bool         // servers that are not on this machine are allowed
	Log       *slog.Logger // never nil
}

// Plan is what a run does, after flags were read.
type Plan struct {
	Load      string // in a few words, for headings: "1x200 vp8 720p + opus, AEAD_AES_128_GCM"
	Unit      string // of deliveries: packets, messages, ...; Sample.Unit is the same
	ScaleName string // of what scale counts: receivers, sessions, allocations, occupants
	Scale     int    // the size that the flags say
	MaxScale  int    // -ramp goes no further; 0 is no limit
	Make      Maker

	// Settle is how long after preparing the memory of what is prepared is read: servers that collect garbage do so when it has become calm.
	Settle time.Duration

	// Accounts that a server needs for a load of this scale; nil is none.
	Accounts func(scale int) int
	// Server are options for a server that bench starts (see package peers), for example limits to lift.
	Server map[string]string
	// Pair has each server started twice, as two domains that exchange messages (Target.Other).
	Pair bool
	// Settings are further facts for the report; values of flags are in it anyway.
	Settings map[string]string
	// Gates changes what must be kept; it gets the defaults. Flags given by the user win over it.
	Gates func(*Gates)
	// Null is the relay whose latency is taken off: "udp", "tcp", or "" for none. NullSize is the size of its packets in bytes.
	Null     string
	NullSize int
	// Faults tells that the load damages what it receives as Common.Fault says.
	Faults bool
	// Clock is what the load waits by, to be started where it has CPUs of its own: what it then uses to look at the time is idle time, and
	// counted as nobody's. nil is none. Threads is how many do so.
	Clock   *clock.Clock
	Threads int
	// Attach is the server to use when the user names none; nil starts the first of Scenario.Servers.
	Attach *Target
}

// Fault is damage that a load does on purpose to what it received, before it looks at it: it shows that the gates work. A nil Fault does
// nothing. Safe for concurrent use.
type Fault struct {
	Loss       float64 // share of units that are thrown away, 0..1
	Corruption float64 // share of units in which one bit is changed, 0..1

	lost, corrupted atomic.Uint64
}

// Lose tells whether to throw the unit at hand away.
func (f *Fault) Lose() bool {
	if f == nil || f.Loss <= 0 || rand.Float64() >= f.Loss {
		return false
	}
	f.lost.Add(1)
	return true
}

// Corrupt changes one bit of b, or leaves it; it tells which. B is what the load is about to check.
func (f *Fault) Corrupt(b []byte) bool {
	if f == nil || f.Corruption <= 0 || len(b) == 0 || rand.Float64() >= f.Corruption {
		return false
	}
	b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
	f.corrupted.Add(1)
	return true
}

// Done is how many units were lost and corrupted so far.
func (f *Fault) Done() (lost, corrupted uint64) {
	if f == nil {
		return 0, 0
	}
	return f.lost.Load(), f.corrupted.Load()
}

// String says what is done, "" for nothing.
func (f *Fault) String() string {
	s := ""
	if f == nil {
		return s
	}
	if f.Loss > 0 {
		s = "loss " + strconv.FormatFloat(f.Loss, 'g', -1, 64)
	}
	if f.Corruption > 0 {
		if s != "" {
			s += ", "
		}
		s += "corruption " + strconv.FormatFloat(f.Corruption, 'g', -1, 64)
	}
	return s
}
