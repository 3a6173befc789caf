package ledger

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string) *Ledger {
	t.Helper()
	l, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// killed is what another process finds after a kill: the file as it is now, without any closing.
func killed(t testing.TB, dir string) *Ledger {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, fileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, other)
}

func shut(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func says(b string) func([]byte) []byte { return func(dst []byte) []byte { return append(dst, b...) } }

// model is what a ledger must remember.
type model map[uint32]*Kept

// TestAgainstModel changes a ledger at random, with compactions, and compares what a kill leaves with plain lists.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { againstModel(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func againstModel(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	l := open(t, dir)
	defer func() { shut(t, l) }()
	m, chans := model{}, []*Channel{}
	at := time.UnixMilli(1_700_000_000_000)
	shared := []byte("x")
	big := make([]byte, 6000)
	for i := range 9_000 {
		if len(chans) == 0 || r.IntN(200) == 0 {
			c := l.New(fmt.Sprint("c", i))
			chans = append(chans, c)
			m[c.ID()] = &Kept{Name: fmt.Sprint("c", i), Values: map[string][]byte{}}
		}
		n := r.IntN(len(chans))
		c := chans[n]
		k := m[c.ID()]
		switch r.IntN(12) {
		case 0:
			c.Set("k", []byte(fmt.Sprint(i)))
			k.Values["k"] = []byte(fmt.Sprint(i))
		case 1:
			c.Set("k", nil)
			delete(k.Values, "k")
		case 2, 3:
			c.PushHollow()
			k.Items = append(k.Items, Item{Hollow: true, Counted: true})
		case 4, 5:
			it := Item{Counted: i%2 == 0, Kept: i%3 == 0, Ref: uint64(i), At: at, Body: append([]byte(fmt.Sprint("body", i)), big...)}
			c.Push(it, Key{}, says(string(it.Body)))
			k.Items = append(k.Items, it)
		case 6, 7: // one message to several
			for range 1 + r.IntN(3) {
				d := chans[r.IntN(len(chans))]
				it := Item{Counted: true, Arrived: i%2 == 0, At: at, Body: []byte("to many")}
				d.Push(it, Key{First: &shared[0]}, says("to many"))
				m[d.ID()].Items = append(m[d.ID()].Items, it)
			}
		case 8:
			a := r.IntN(len(k.Items) + 1)
			k.Acked += uint32(a)
			c.Ack(a, k.Acked)
			for _, it := range k.Items[:a] {
				if it.Kept {
					k.Had = max(k.Had, it.Ref)
				}
			}
			k.Items = k.Items[a:]
		case 9:
			a := r.IntN(len(k.Items) + 1)
			c.Sweep(a)
			var left []Item
			for j, it := range k.Items {
				if j >= a || !it.Hollow {
					left = append(left, it)
				}
			}
			k.Items = left
		case 10:
			k.Handled++
			c.SetHandled(k.Handled)
		case 11:
			if r.IntN(30) == 0 {
				c.Drop()
				delete(m, c.ID())
				chans = append(chans[:n], chans[n+1:]...)
			}
		}
		if r.IntN(2000) == 0 {
			other := killed(t, dir)
			compare(t, other, m)
			shut(t, other)
		}
	}
	if l.Counters()["compactions_total"] == 0 {
		t.Error("nothing was compacted")
	}
	other := killed(t, dir)
	defer func() { shut(t, other) }()
	compare(t, other, m)
}

func compare(t *testing.T, l *Ledger, m model) {
	t.Helper()
	got := l.Kept()
	if len(got) != len(m) {
		t.Fatalf("%d channels, want %d", len(got), len(m))
	}
	for _, g := range got {
		id, want := g.ID(), *m[g.ID()]
		g.Channel = nil
		if len(want.Items) == 0 {
			want.Items = nil
		}
		if !reflect.DeepEqual(g, want) {
			t.Fatalf("channel %d: got\n%.500s\nwant\n%.500s", id, fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", want))
		}
	}
}

// TestUndone: what was begun and not done is known with who has got it, and what is done counts as handled.
func TestUndone(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	in, out := l.New("in"), l.New("out")
	l.Begin(7, "owner", Origin{Channel: in.ID(), Number: 1})
	l.Begin(8, "owner", Origin{Channel: in.ID(), Number: 2})
	l.Begin(9, "owner", Origin{Channel: in.ID(), Number: 3})
	out.Push(Item{Ref: 8}, Key{}, says("eight"))
	out.Ack(1, 1)
	l.Done(7)
	in.SetHandled(1)
	shut(t, l)

	l = open(t, dir)
	u := l.Undone()
	if len(u) != 2 || u[0].Ref != 8 || u[1].Ref != 9 || !u[0].Served("out") || u[0].Served("in") || !u[0].Passed || u[1].Passed || u[0].Owner != "owner" {
		t.Fatalf("undone: %+v", u)
	}
	l.Done(8)
	l.Forget(9)
	shut(t, l)

	l = open(t, dir)
	defer func() { shut(t, l) }()
	if k := l.Kept()[0]; k.Handled != 2 || len(l.Undone()) != 0 {
		t.Errorf("handled %d, undone %v", k.Handled, l.Undone())
	}
	if !l.Trusted() {
		t.Error("nothing has happened to the machine")
	}
}

// TestServed: of a message to many it is known who has got it, over compactions too: a kill may come between any two of them, and the start hands it on to the
// others alone. A channel of the same name is another one.
func TestServed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	in, link, session := l.New("in"), l.New("link"), l.New("session")
	o := Origin{Channel: in.ID(), Number: 1}
	l.Begin(7, "room", o, "ann", "bob")
	session.Push(Item{Ref: 7, Origin: o}, Key{}, says("all"))
	link.Push(Item{Ref: 7, Origin: o, For: "ann"}, Key{}, says("all"))
	part := o
	part.Part = true
	link.Push(Item{Ref: 7, Origin: part, For: "bob"}, Key{}, says("all"))
	link.Ack(1, 1)
	for range 3 { // each start compacts
		shut(t, l)
		l = open(t, dir)
		u := l.Undone()
		if len(u) != 1 || !slices.Equal(u[0].Also, []string{"ann", "bob"}) {
			t.Fatalf("undone: %+v", u)
		}
		if u := u[0]; !u.Served("session") || u.Served("in") || u.Served("link") {
			t.Errorf("served %v", u)
		}
	}
	k := l.Kept()
	link, session = k[1].Channel, k[2].Channel
	push := func(c *Channel, whom string) bool { return c.Push(Item{Ref: 7, For: whom}, Key{}, says("all")) }
	if !push(l.New("session"), "") {
		t.Error("a later session has not got it")
	}
	for range 2 {
		if push(link, "ann") || push(link, "bob") || push(session, "") || push(session, "") {
			t.Error("ann, bob and the session have it")
		}
	}
	if !push(link, "eve") || !push(session, ForCopy) || !session.Push(Item{Kept: true, Ref: 7}, Key{}, says("of other numbers")) {
		t.Error("that is new")
	}
	l.Started()
	if !push(session, "") {
		t.Error("the start is over")
	}
	shut(t, l)
}

// TestArrived: of a message that two clients get it is known that one has it, over compactions too.
func TestArrived(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	a, b := l.New("a"), l.New("b")
	for _, c := range []*Channel{a, b} {
		c.Push(Item{Ref: 5, Shared: true}, Key{}, says("both"))
	}
	a.Ack(1, 1)
	for range 2 {
		shut(t, l)
		l = open(t, dir)
		if k := l.Kept(); !k[1].Items[0].Arrived || len(k[0].Items) != 0 {
			t.Errorf("got %+v", k)
		}
	}
	shut(t, l)
}

// TestTorn: a log that ends in the middle of a record is good up to there; one of another boot is not trusted; one that is none is put aside.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.New("a").Push(Item{}, Key{}, says("whole"))
	whole := l.region.end
	l.New("b")
	l.region.mem[whole+frameBytes+1] ^= 1
	shut(t, l)
	path := filepath.Join(dir, fileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[len(magic):], "another boot")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	if k := l.Kept(); len(k) != 1 || k[0].Name != "a" || string(k[0].Items[0].Body) != "whole" || l.Trusted() {
		t.Errorf("got %+v, trusted %v", k, l.Trusted())
	}
	shut(t, l)
	if l = open(t, dir); l.Trusted() { // the start was killed before it had set right what it found
		t.Error("trusted")
	}
	l.Started()
	shut(t, l)
	if l = open(t, dir); !l.Trusted() {
		t.Error("still not trusted")
	}
	shut(t, l)
	if err := os.WriteFile(path, []byte("something else entirely, and long enough to be looked at as a log of sessions"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	if len(l.Kept()) != 0 {
		t.Error("channels of nowhere")
	}
	shut(t, l)
}

// TestDropped: what is noted of a channel after its end is not written, and where an older program wrote it, all that follows is read.
func TestDropped(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	gone, kept := l.New("gone"), l.New("kept")
	gone.Drop()
	before := l.region.end
	gone.SetHandled(7)
	gone.Ack(1, 1)
	gone.Set("k", []byte("v"))
	if !gone.Push(Item{}, Key{}, says("nowhere")) {
		t.Error("who has got it before?")
	}
	if l.region.end != before {
		t.Error("it was written")
	}
	for _, rec := range [][]byte{{byte(opHandled), byte(gone.id), 7}, {byte(opPush), byte(gone.id), 0, 0, 0, 0, 1, 'x'}} {
		l.region.add(rec)
	}
	kept.Push(Item{}, Key{}, says("after"))
	other := killed(t, dir)
	if k := other.Kept(); len(k) != 1 || len(k[0].Items) != 1 || string(k[0].Items[0].Body) != "after" {
		t.Errorf("got %+v", k)
	}
	shut(t, other)
	shut(t, l)
}

// TestParts: of a message to several that a kill has cut short it is known who has it, over compactions too: nobody gets it twice when it is sent again. It is
// handled when the last one has it.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	from, a, link := l.New("from"), l.New("a"), l.New("link")
	first, last := Origin{Channel: from.ID(), Number: 7, Part: true}, Origin{Channel: from.ID(), Number: 7}
	push := func(c *Channel, whom string, o Origin) bool {
		return c.Push(Item{Origin: o, For: whom}, Key{}, says("all"))
	}
	from.SetHandled(6)
	if !push(a, "", first) || !push(link, "x", first) {
		t.Fatal("not new")
	}
	for range 2 {
		shut(t, l)
		l = open(t, dir)
	}
	k := l.Kept()
	if k[0].Handled != 6 || len(k[1].Items) != 1 || len(k[2].Items) != 1 {
		t.Errorf("%+v", k)
	}
	from, a, link = k[0].Channel, k[1].Channel, k[2].Channel
	if !push(link, "y", first) || push(link, "x", first) || push(a, "", first) {
		t.Error("y has not got it, x and a have")
	}
	if !push(a, "", first) {
		t.Error("once is enough")
	}
	push(link, "z", last)
	if k := l.Kept(); k[0].Handled != 7 || len(l.state.channels[from.ID()].parts) != 0 {
		t.Errorf("%+v", k[0])
	}
	shut(t, l)
}

// FuzzReplay: no log makes the reader fail.
func FuzzReplay(f *testing.F) {
	s := newState()
	f.Add([]byte{byte(opNew), 1, 1, 'a'}, []byte{byte(opPush), 1, 0, 0, 0, 0, 1, 'x'})
	f.Add([]byte{byte(opPart), 1, 2, 3, 4}, []byte{byte(opDoubted)})
	f.Add([]byte{byte(opHollow), 1, 200}, []byte{byte(opSweep), 1, 3})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, rec := range [][]byte{{byte(opNew), 1, 1, 'a'}, a, b, {byte(opSweep), 1, 9}, {byte(opAck), 1, 9, 9}} {
			if len(rec) > 0 && !s.apply(0, rec) {
				s = newState()
			}
		}
	})
}

func BenchmarkPush(b *testing.B) {
	text := says(string(make([]byte, 300)))
	for _, c := range []struct {
		name string
		key  Key
	}{{"each", Key{}}, {"same", Key{From: "room", First: new(byte)}}} {
		b.Run(c.name, func(b *testing.B) {
			l := open(b, b.TempDir())
			defer func() { shut(b, l) }()
			ch := l.New("a")
			b.ReportAllocs()
			for i := range b.N {
				ch.Push(Item{Counted: true, Ref: uint64(i)}, c.key, text)
				if i%8 == 7 {
					ch.Ack(8, uint32(i))
				}
			}
		})
	}
}

// TestSpare: what an earlier log has left behind the end of the present one is not read, and what a kill left of an exchange of the two does no harm.
func TestSpare(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	c := l.New("a")
	for l.Counters()["compactions_total"] < 2 { // the second one writes over the first log
		c.Push(Item{Counted: true}, Key{}, says("of long ago, and as long as all the others"))
		c.Ack(1, 1)
	}
	if l.spare == nil || l.region.end > len(l.region.mem)/2 {
		t.Fatal("no log was used again")
	}
	c.Push(Item{Counted: true}, Key{}, says("the last"))
	for _, name := range []string{spareName, asideName} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half of something"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := killed(t, dir)
	if k := other.Kept(); len(k) != 1 || len(k[0].Items) != 1 || string(k[0].Items[0].Body) != "the last" {
		t.Errorf("got %+v", k)
	}
	shut(t, other)
	shut(t, l)
	l = open(t, dir)
	if k := l.Kept(); len(k) != 1 || len(k[0].Items) != 1 {
		t.Errorf("got %+v", k)
	}
	shut(t, l)
	if left, err := filepath.Glob(filepath.Join(dir, "*.*.*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

// TestNumberNamed: a number is not given again while a message is known by it, over a second kill too: who has got what would be taken for another.
func TestNumberNamed(t *testing.T) {
	for name, do := range map[string]func(l *Ledger, in, gone *Channel){
		"began": func(l *Ledger, _, gone *Channel) { l.Begin(7, "owner", Origin{Channel: gone.ID(), Number: 1}) },
		"served": func(l *Ledger, _, gone *Channel) {
			l.Begin(7, "owner", Origin{})
			gone.Push(Item{Ref: 7}, Key{}, says("x"))
		},
		"part": func(_ *Ledger, in, gone *Channel) {
			gone.Push(Item{Origin: Origin{Channel: in.ID(), Number: 1, Part: true}}, Key{}, says("x"))
		},
	} {
		dir := t.TempDir()
		l := open(t, dir)
		in, gone := l.New("in"), l.New("gone")
		do(l, in, gone)
		gone.Drop()
		for range 2 {
			shut(t, l)
			l = open(t, dir)
		}
		if later := l.New("later"); later.ID() == gone.ID() {
			t.Error("taken for another:", name)
		}
		shut(t, l)
	}
}

// TestNumberAgain: what one channel had handled does not count for a later one that got its number, whatever is still queued.
func TestNumberAgain(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	to, from := l.New("to"), l.New("from")
	to.Push(Item{Origin: Origin{Channel: from.ID(), Number: 100}}, Key{}, says("queued"))
	if k := l.Kept()[1]; k.Handled != 100 {
		t.Errorf("handled %d", k.Handled)
	}
	from.Drop()
	shut(t, l)

	l = open(t, dir)
	defer func() { shut(t, l) }()
	if later := l.New("later"); later.ID() != from.ID() {
		t.Fatalf("%d has the number %d", later.ID(), from.ID())
	}
	for range 20 { // the channels are written in any order
		if err := l.compact(0); err != nil {
			t.Fatal(err)
		}
	}
	if k := l.Kept(); k[1].Handled != 0 || len(k[0].Items) != 1 {
		t.Errorf("got %+v", k)
	}
}
