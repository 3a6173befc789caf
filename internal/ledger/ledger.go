package ledger

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/packed"
)

const (
	fileName  = "sessions.log"
	spareName = fileName + ".spare" // the log of before, to be written anew
	asideName = fileName + ".aside" // a second name while the two are exchanged

	minLog    = 1 << 20         // a log is at least this long, and growth times as long as what it holds
	growth    = 4               // so that three quarters of it are new records
	maxLog    = 2 << 30         // a ledger that would be longer forgets everything: something is wrong
	syncEvery = 5 * time.Second // what a power cut may take
)

// Ledger is the log and what it says. Its methods may be called from any goroutine and never block for long; no other lock is taken under its own.
type Ledger struct {
	path    string
	boot    string
	log     *slog.Logger
	trusted bool
	stop    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex // guards all below
	region *region    // nil: closed, or broken
	spare  *region    // nil: none
	state  *state
	nextID uint32
	rec    []byte // the record being made
	body   []byte // of the push being made
	last   Key    // of the body of the push before
	dirty  bool   // since the last sync

	// What had got to some when the program was killed; nil: nothing.
	parts  map[uint32][]part             // by the channel it came on
	served map[uint64]map[recipient]bool // what is in the archive, by its ref; until the start is over

	records, compactions, failures atomic.Uint64
}

// Open reads the ledger of a folder, or makes one. A log that cannot be read is put aside with a warning: what it knew is lost, nothing else.
func Open(dir string, log *slog.Logger) (*Ledger, error) {
	for _, name := range []string{spareName, asideName} { // of a program that was killed
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	l := &Ledger{path: filepath.Join(dir, fileName), boot: bootID(), log: log, state: newState(), stop: make(chan struct{}), stopped: make(chan struct{})}
	old, err := openRegion(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.trusted = true
	case errors.Is(err, errDamaged):
		log.Warn("the log of sessions is damaged and put aside", "file", l.path)
		if err := os.Rename(l.path, l.path+".damaged"); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		l.trusted = old.boot() == l.boot
		l.region = old
		l.replay()
	}
	l.state.doubted = !l.trusted // also for the next start, until somebody says Started
	if err := l.compact(0); err != nil {
		return nil, err
	}
	go l.syncing()
	return l, nil
}

// bootID changes with each start of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown" // without it a power cut cannot be told from a kill
	}
	return strings.TrimSpace(string(b))
}

func (l *Ledger) replay() {
	for {
		at, rec, ok := l.region.next()
		if !ok {
			break
		}
		if !l.state.apply(at, rec) {
			l.log.Warn("a record of the log of sessions makes no sense; what follows is not used", "at", at)
			break
		}
	}
	l.trusted = l.trusted && !l.state.doubted
	l.nextID = l.state.lastID()
	for id, c := range l.state.channels {
		if len(c.parts) > 0 {
			if l.parts == nil {
				l.parts = map[uint32][]part{}
			}
			l.parts[id] = slices.Clone(c.parts)
		}
	}
	for ref, b := range l.state.begun {
		for _, by := range b.served {
			if l.served == nil {
				l.served = map[uint64]map[recipient]bool{}
			}
			if l.served[ref] == nil {
				l.served[ref] = map[recipient]bool{}
			}
			l.served[ref][by] = true
		}
	}
}

// Trusted tells that the ledger, as it was found, is exact: the machine has not been started anew since it was written.
func (l *Ledger) Trusted() bool { return l.trusted }

// Started says that the start is over: what was under way is handed on, and what a ledger that is not Trusted said is set right, so that the next start may take
// its numbers for exact.
func (l *Ledger) Started() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = nil
	if !l.trusted {
		l.rec = l.start(opTrusted)
		l.add()
	}
}

// Close writes everything to disk. What is called afterwards does nothing.
func (l *Ledger) Close() error {
	close(l.stop)
	<-l.stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.region == nil {
		return nil
	}
	err := l.region.file.Sync()
	err = errors.Join(err, l.region.close(), l.dropSpare())
	l.region = nil
	return err
}

func (l *Ledger) syncing() {
	defer close(l.stopped)
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		var f *os.File
		if l.dirty && l.region != nil {
			f, l.dirty = l.region.file, false // it may become the spare one meanwhile, which does no harm
		}
		l.mu.Unlock()
		if f != nil {
			_ = f.Sync() // a file that was closed meanwhile is of no use any more
		}
	}
}

// add writes l.rec and carries it out; mu is held.
func (l *Ledger) add() {
	if l.region == nil {
		return
	}
	if !l.region.fits(len(l.rec)) {
		rec := slices.Clone(l.rec)
		if err := l.compact(len(rec)); err != nil {
			l.failures.Add(1)
			l.log.Error("the log of sessions cannot be written any more: a restart will end all sessions", "file", l.path, "err", err)
			_ = errors.Join(l.region.close(), os.Remove(l.path), l.dropSpare())
			l.region = nil
			return
		}
		l.rec = rec
	}
	l.records.Add(1)
	l.dirty = true
	l.state.apply(l.region.add(l.rec), l.rec)
}

// compact writes the state into a log with room for extra bytes more, which takes the place of the old one: into the one of before that, where it fits,
// since a new file has to be filled and its pages mapped, which was a third of what the ledger cost.
func (l *Ledger) compact(extra int) error {
	size := max(minLog, growth*(l.live()+extra+headerBytes))
	if size > maxLog {
		return errors.New("ledger: too much to remember")
	}
	fresh, err := l.prepare(size)
	if err != nil {
		return err
	}
	old, before := l.region, l.state
	l.state = newState()
	l.rewrite(before, old, fresh)
	l.region, l.spare = fresh, old
	l.last = Key{}
	if old == nil {
		return os.Rename(l.sibling(spareName), l.path)
	}
	l.compactions.Add(1)
	return l.exchange()
}

// sibling is the path of another file in the folder of the log.
func (l *Ledger) sibling(name string) string { return filepath.Join(filepath.Dir(l.path), name) }

// prepare gives an empty log of size bytes, or up to growth times as many, under the name of the spare one.
func (l *Ledger) prepare(size int) (*region, error) {
	generation := uint64(1)
	if l.region != nil {
		generation = l.region.generation + 1
	}
	if l.spare != nil && len(l.spare.mem) >= size && len(l.spare.mem) <= growth*size {
		l.spare.begin(l.boot, generation)
		return l.spare, nil
	}
	if err := l.dropSpare(); err != nil {
		return nil, err
	}
	return createRegion(l.sibling(spareName), size, l.boot, generation)
}

// exchange gives the spare file, which has become the log, the log's name, and the other way round. At each moment there is a log, and it is whole.
func (l *Ledger) exchange() error {
	aside, spare := l.sibling(asideName), l.sibling(spareName)
	if err := os.Link(l.path, aside); err != nil {
		return err
	}
	if err := os.Rename(spare, l.path); err != nil {
		return err
	}
	return os.Rename(aside, spare)
}

func (l *Ledger) dropSpare() error {
	if l.spare == nil {
		return nil
	}
	err := errors.Join(l.spare.close(), os.Remove(l.sibling(spareName)))
	l.spare = nil
	return err
}

// live is about how long the state is as records.
func (l *Ledger) live() int {
	n := 0
	for _, c := range l.state.channels {
		n += 96 + len(c.name)
		for k, v := range c.values {
			n += 32 + len(k) + len(v)
		}
		for _, it := range c.items[c.head:] {
			n += 64 + it.n
		}
		n += 32 * len(c.parts)
	}
	for _, b := range l.state.begun {
		n += 64 + len(b.owner) + 32*len(b.served)
		for _, to := range b.also {
			n += 8 + len(to)
		}
	}
	return n
}

// rewrite puts what before says, with bodies in old, into fresh.
func (l *Ledger) rewrite(before *state, old, fresh *region) {
	put := func(rec []byte) {
		l.state.apply(fresh.add(rec), rec)
		l.rec = rec
	}
	last := body{}
	push := func(id uint32, it item) {
		it.origin = Origin{} // opHandled and opPart say it; another channel may have the number of one that was dropped by now
		if it.flags&flagPart != 0 {
			it.flags = it.flags&^flagPart | flagFor
		}
		if it.hollow > 0 {
			put(packed.Numbers(l.start(opHollow), uint64(id), uint64(it.hollow)))
			return
		}
		if it.body == last {
			put(appendItem(l.start(opAgain), id, it))
			return
		}
		last = it.body
		b := appendItem(l.start(opPush), id, it)
		put(packed.String(b, old.mem[it.body.at:it.body.at+it.n]))
	}
	if before.doubted {
		put(l.start(opDoubted))
	}
	for id, c := range before.channels {
		put(packed.String(packed.Numbers(l.start(opNew), uint64(id)), c.name))
		for k, v := range c.values {
			put(packed.String(packed.String(packed.Numbers(l.start(opSet), uint64(id)), k), v))
		}
	}
	for ref, b := range before.begun {
		put(appendBegun(l.start(opBegin), ref, b))
		for _, by := range b.served {
			put(packed.Numbers(l.start(opServed), ref, uint64(by.channel), uint64(by.whom)))
		}
	}
	for id, c := range before.channels {
		for _, it := range c.items[c.head:] {
			if _, ok := before.arrived[it.ref]; ok && it.flags&flagShared != 0 {
				it.flags |= flagArrived
			}
			push(id, it)
		}
		put(packed.Numbers(l.start(opAck), uint64(id), 0, uint64(c.acked)))
		put(packed.Numbers(l.start(opHandled), uint64(id), uint64(c.handled)))
		if c.had != 0 {
			put(packed.Numbers(l.start(opHad), uint64(id), c.had))
		}
		for _, p := range c.parts {
			put(packed.Numbers(l.start(opPart), uint64(id), uint64(p.number), uint64(p.to.channel), uint64(p.to.whom)))
		}
	}
}

// start begins a record.
func (l *Ledger) start(o op) []byte { return append(l.rec[:0], byte(o)) }

func appendOrigin(b []byte, o Origin) []byte {
	if o.Channel == 0 {
		return append(b, 0)
	}
	return packed.Numbers(b, uint64(o.Channel), uint64(o.Number))
}

// appendBegun is the rest of opBegin.
func appendBegun(b []byte, ref uint64, m *begun) []byte {
	b = appendOrigin(packed.String(packed.Numbers(b, ref), m.owner), m.origin)
	for _, to := range m.also {
		b = packed.String(b, to)
	}
	return b
}

// appendItem is what opPush and opAgain have in common.
func appendItem(b []byte, channel uint32, it item) []byte {
	b = append(packed.Numbers(b, uint64(channel)), it.flags)
	b = appendOrigin(packed.Numbers(b, it.ref, uint64(it.at)), it.origin)
	if it.flags&(flagPart|flagFor) != 0 {
		b = packed.Numbers(b, uint64(it.whom))
	}
	return b
}

// Counters are numbers for metrics; log_log_bytes and channels are gauges.
func (l *Ledger) Counters() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := map[string]uint64{
		"records_total": l.records.Load(), "compactions_total": l.compactions.Load(), "failures_total": l.failures.Load(), "channels": uint64(len(l.state.channels)),
		"log_bytes": 0,
	}
	if l.region != nil {
		m["log_bytes"] = uint64(l.region.end)
	}
	return m
}
