package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/proctest"
	"konzil/internal/store"
	"konzil/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		appendForEver(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var small = limits{chunkMessages: 8, chunkBytes: 1 << 10, flushReady: 2, journalBytes: 4 << 10, tailAge: time.Hour}

// clock is a time that tests set while an archive looks at it.
type clock struct{ ms atomic.Int64 }

func clockAt(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}

func (c *clock) now() time.Time  { return time.UnixMilli(c.ms.Load()) }
func (c *clock) set(t time.Time) { c.ms.Store(t.UnixMilli()) }

type fixture struct {
	*Archive
	db  *store.DB
	dir string
}

func start(t testing.TB, dir string, now func() time.Time, l limits) fixture {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db := storetest.OpenIn(t, dir)
	a, err := open(context.Background(), db, quiet, now, l)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{a, db, dir}
}

func (f fixture) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(f.Archive.Close(context.Background()), f.db.Close()); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) add(t testing.TB, text string, copies ...Copy) ID {
	t.Helper()
	id, ticket, err := f.Append(func(ID) []byte { return []byte(text) }, copies...)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(context.Background(), ticket); err != nil {
		t.Fatal(err)
	}
	return id
}

func (f fixture) find(t testing.TB, q Query) *Page {
	t.Helper()
	p, err := f.Find(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func texts(p *Page) string {
	var out []string
	for _, m := range p.Messages {
		out = append(out, string(m.XML))
	}
	return strings.Join(out, " ")
}

// model is what the archive must answer: all messages of an owner in order.
type model map[string][]Message

func (m model) page(q Query) (*Page, bool) {
	if q.Until == 0 {
		q.Until = 1 << 62
	}
	s := scan{q: q}
	all := slices.Clone(m[q.Owner])
	s.take(all)
	p := &Page{Messages: s.found, Complete: !s.more}
	if q.Last {
		slices.Reverse(p.Messages)
	}
	return p, true
}

// TestAgainstModel appends, flushes and restarts at random and compares answers with a plain list.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { againstModel(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func againstModel(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	c := clockAt(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	bound := small
	bound.journalBytes = int64(r.IntN(3)) * 1000
	f := start(t, dir, c.now, bound)
	want := model{}
	people := []string{"anna@x", "ben@x", "carl@y", "room@muc"}
	for step := range 400 {
		switch k := r.IntN(20); {
		case k < 15:
			from, to := people[r.IntN(4)], people[r.IntN(4)]
			copies := []Copy{{from, to + "/" + string(rune('a'+r.IntN(2)))}}
			if from != to {
				copies = append(copies, Copy{to, from})
			}
			text := fmt.Sprint("m", step)
			id := f.add(t, text, copies...)
			for _, cp := range copies {
				want[cp.Owner] = append(want[cp.Owner], Message{id, cp.Peer, []byte(text)})
			}
			c.set(c.now().Add(time.Duration(r.IntN(3)) * time.Millisecond))
		case k == 15:
			f.close(t)
			f = start(t, dir, c.now, bound)
		case k == 16: // replaced wherever it lies
			who := people[r.IntN(4)]
			if n := len(want[who]); n > 0 {
				m := &want[who][r.IntN(n)]
				m.XML = []byte("gone")
				if err := f.Replace(context.Background(), who, m.ID, m.XML); err != nil {
					t.Fatal(err)
				}
			}
		case k == 17 && r.IntN(4) == 0:
			who := people[r.IntN(4)]
			delete(want, who)
			if err := f.Forget(context.Background(), who); err != nil {
				t.Fatal(err)
			}
		default:
			compare(t, f, want, randomQuery(r, want, people))
		}
	}
	f.close(t)
}

func randomQuery(r *rand.Rand, want model, people []string) Query {
	q := Query{Owner: people[r.IntN(4)], Max: r.IntN(12), Last: r.IntN(2) == 0}
	ids := want[q.Owner]
	pick := func() ID {
		if len(ids) == 0 {
			return 1
		}
		return ids[r.IntN(len(ids))].ID
	}
	if r.IntN(2) == 0 {
		q.After = pick()
	}
	if r.IntN(2) == 0 {
		q.Until = pick()
	}
	switch r.IntN(4) {
	case 0:
		q.Peer = people[r.IntN(4)]
	case 1:
		q.Peer = people[r.IntN(4)] + "/a"
	}
	if r.IntN(4) == 0 {
		q.Match = func(b []byte) bool { return strings.HasSuffix(string(b), "1") }
	}
	return q
}

func compare(t *testing.T, f fixture, want model, q Query) {
	t.Helper()
	got := f.find(t, q)
	exp, _ := want.page(q)
	if texts(got) != texts(exp) || got.Complete != exp.Complete {
		t.Fatalf("%+v:\n got %s %v\nwant %s %v", q, texts(got), got.Complete, texts(exp), exp.Complete)
	}
	if q.Peer == "" && q.Match == nil {
		q.Max, q.Last = 1<<20, false
		if exp, _ = want.page(q); got.Count != len(exp.Messages) {
			t.Fatalf("%+v: count %d, want %d", q, got.Count, len(exp.Messages))
		}
	}
}

func TestIDs(t *testing.T) {
	c := clockAt(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC))
	f := start(t, t.TempDir(), c.now, small)
	defer f.close(t)
	id := f.add(t, "x", Copy{"a", "b"})
	if !id.Time().Equal(c.now()) {
		t.Error(id.Time())
	}
	back, err := ParseID(id.String())
	if err != nil || back != id {
		t.Error(id, back, err)
	}
	for _, bad := range []string{"", "0", "zzzzzzzzzzzzz", id.String() + "0"} {
		if _, err := ParseID(bad); err == nil {
			t.Error(bad)
		}
	}
	if p := f.find(t, Query{Owner: "a", IDs: []ID{id}, Max: 9}); texts(p) != "x" {
		t.Error(texts(p))
	}
	if _, err := f.Find(context.Background(), Query{Owner: "a", IDs: []ID{id, id + 1}, Max: 9}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestBetweenAndExpire(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := clockAt(day)
	f := start(t, t.TempDir(), c.now, small)
	for i := range 30 {
		c.set(day.AddDate(0, 0, i))
		f.add(t, fmt.Sprint(i), Copy{"a", "b"})
	}
	q := Query{Owner: "a", Max: 99}
	q.Between(day.AddDate(0, 0, 3), day.AddDate(0, 0, 5))
	if got := texts(f.find(t, q)); got != "3 4 5" {
		t.Error(got)
	}
	f.close(t) // all into chunks
	f = start(t, f.dir, c.now, small)
	defer f.close(t)
	n, err := f.Expire(context.Background(), "", day.AddDate(0, 0, 27))
	if err != nil || n != 27 {
		t.Error(n, err)
	}
	if got := texts(f.find(t, Query{Owner: "a", Max: 99})); got != "27 28 29" {
		t.Error(got)
	}
	oldest, newest, err := f.Bounds(context.Background(), "a")
	if err != nil || string(oldest.XML) != "27" || string(newest.XML) != "29" {
		t.Error(oldest, newest, err)
	}
}

// What cannot be written is told to who waits, and nothing is answered as if it were there.
func TestDiskFails(t *testing.T) {
	f := start(t, t.TempDir(), time.Now, small)
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	called := make(chan error, 1)
	if _, err := f.AppendThen(func(ID) []byte { return nil }, func(err error) { called <- err }, Copy{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if err := <-called; err == nil {
		t.Error("no error for the one who asked to be called")
	}
	_, ticket, err := f.Append(func(ID) []byte { return nil }, Copy{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(context.Background(), ticket); err == nil {
		t.Error("no error for the one who waits")
	}
	if over, err := f.Settled(ticket - 1); !over || err == nil { // the message of AppendThen
		t.Error("no error for the one who asks when the disk has failed again")
	}
	_ = f.Archive.Close(context.Background())
	if _, _, err := f.Append(func(ID) []byte { return nil }, Copy{"a", "b"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Each batch that failed is told from those that did not, as far back as there is room for; failures in a row take the room of one.
func TestFailures(t *testing.T) {
	var a Archive
	for i := range uint64(maxFailures + 1) {
		for n := range uint64(100) {
			a.fail(1000*i+n, ErrBusy)
		}
	}
	if len(a.failed) != maxFailures {
		t.Error(len(a.failed))
	}
	for ticket, failed := range map[Ticket]bool{99: false, 999: false, 1000: true, 1050: true, 1099: true, 1100: false, 2000: true, 1000*maxFailures + 99: true} {
		if err := a.outcome(ticket); (err != nil) != failed {
			t.Error(ticket, err)
		}
	}
}

func TestThenInOrder(t *testing.T) {
	f := start(t, t.TempDir(), time.Now, small)
	defer f.close(t)
	const n = 1000
	got := make(chan ID, n)
	var want []ID
	for range n {
		var mine ID
		_, err := f.AppendThen(func(id ID) []byte { mine = id; return []byte("x") }, func(error) { got <- mine }, Copy{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, mine)
	}
	if err := f.Barrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, id := range want {
		if g := <-got; g != id {
			t.Fatal(g, id)
		}
	}
}

// What is called may wait for what was appended after its message: a stanza that it routes may have to.
func TestThenMayWait(t *testing.T) {
	f := start(t, t.TempDir(), time.Now, small)
	defer f.close(t)
	got := make(chan error, 1)
	_, err := f.AppendThen(func(ID) []byte { return []byte("x") }, func(error) {
		_, ticket, err := f.Append(func(ID) []byte { return []byte("y") }, Copy{"b", "a"})
		if err == nil {
			err = f.Wait(context.Background(), ticket)
		}
		got <- err
	}, Copy{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("what waits for the disk keeps the disk waiting")
	}
}

// childEnv makes the test binary append until it is killed, instead of testing.
const childEnv = "KONZIL_ARCHIVE_TEST_CHILD"

func appendForEver(dir string) {
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(context.Background(), dir, quiet)
	if err != nil {
		panic(err)
	}
	a, err := open(context.Background(), db, quiet, time.Now, limits{16, 1 << 12, 2, 1 << 14, time.Hour})
	if err != nil {
		panic(err)
	}
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				id, t, err := a.Append(func(id ID) []byte { return []byte(id.String()) }, Copy{fmt.Sprint("o", g), "p"}, Copy{fmt.Sprint("o", (g+1)%4), "p"})
				if err != nil || a.Wait(context.Background(), t) != nil {
					os.Exit(1)
				}
				fmt.Printf("%d %s\n", g, id)
			}
		}()
	}
	select {}
}

// TestKill kills an appending process with SIGKILL: what was told to be on disk must be there, once, in both archives.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]map[string]bool{}
	for round := range 3 {
		n := 0
		proctest.KillChild(t, childEnv+"="+dir, func(line string) bool {
			g, id, _ := strings.Cut(line, " ")
			n++
			for _, o := range []string{"o" + g, "o" + string('0'+(g[0]-'0'+1)%4)} {
				if acked[o] == nil {
					acked[o] = map[string]bool{}
				}
				acked[o][id] = true
			}
			return n >= 300+100*round
		})
		f := start(t, dir, time.Now, small)
		for owner, ids := range acked {
			seen := map[string]int{}
			for _, m := range f.find(t, Query{Owner: owner, Max: 1 << 30}).Messages {
				seen[string(m.XML)]++
				if m.ID.String() != string(m.XML) || seen[string(m.XML)] > 1 {
					t.Fatalf("round %d: %s: %s is there as %s, %d times", round, owner, m.XML, m.ID, seen[string(m.XML)])
				}
			}
			for id := range ids {
				if seen[id] != 1 {
					t.Fatalf("round %d: %s: %s was acknowledged and is there %d times", round, owner, id, seen[id])
				}
			}
		}
		f.close(t)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeBatch(nil, []record{{opAdd, 5, []Copy{{"a", "b"}, {"c", ""}}, []byte("<x/>")}}))
	f.Add(encodeChunk(nil, []Message{{1, "a", nil}, {2, "", []byte("y")}}))
	f.Add([]byte{1, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if recs, err := decodeBatch(b); err == nil {
			again, err := decodeBatch(encodeBatch(nil, recs))
			if err != nil || fmt.Sprint(again) != fmt.Sprint(recs) {
				t.Fatal(recs, again, err)
			}
		}
		if ms, err := decodeChunk(b); err == nil {
			again, err := decodeChunk(encodeChunk(nil, ms))
			if err != nil || fmt.Sprint(again) != fmt.Sprint(ms) {
				t.Fatal(ms, again, err)
			}
		}
	})
}

// BenchmarkAppend is the cost of keeping a message of 400 bytes in two archives, 200 people writing to each other, 10 under way for each.
func BenchmarkAppend(b *testing.B) {
	f := start(b, b.TempDir(), time.Now, limits{chunkMessages, chunkBytes, flushReady, journalBytes, tailAge})
	defer f.close(b)
	xml := make([]byte, 400)
	slots := make(chan struct{}, 1000)
	b.ResetTimer()
	for i := range b.N {
		slots <- struct{}{}
		_, err := f.AppendThen(func(ID) []byte { return xml }, func(error) { <-slots }, Copy{fmt.Sprint("u", i%200), "p"}, Copy{fmt.Sprint("u", (i+1)%200), "q"})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Barrier(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(max(f.commits.Load(), 1)), "messages/commit")
}
