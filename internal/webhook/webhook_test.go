package webhook

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of sixteen bytes or more"

// receiver notes what comes, and answers as it is told.
type receiver struct {
	mu    sync.Mutex // guards what follows
	got   []string
	keys  map[string]int
	codes []int // answers still to be given; then 200
	bad   int   // wrong signatures
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	t, sig, _ := strings.Cut(strings.TrimPrefix(q.Header.Get("X-Konzil-Signature"), "t="), ",v1=")
	if sig != Sign(secret, t, body) {
		r.bad++
	}
	r.got = append(r.got, string(body))
	r.keys[q.Header.Get("Idempotency-Key")]++
	if len(r.codes) > 0 {
		w.WriteHeader(r.codes[0])
		r.codes = r.codes[1:]
	}
}

// TestDelivery: in order, signed, again after a failure that may pass, not after a refusal.
func TestDelivery(t *testing.T) {
	r := &receiver{keys: map[string]int{}, codes: []int{500, 503, 200, 404, 200}}
	srv := httptest.NewServer(r)
	defer srv.Close()
	s := New(Config{URL: srv.URL, Secret: secret}, slog.New(slog.DiscardHandler))
	s.pause = func(time.Duration) <-chan time.Time { c := make(chan time.Time, 1); c <- time.Time{}; return c }
	for _, e := range []string{"a", "b", "c"} {
		s.Post(e)
	}
	s.Shutdown(context.Background())
	if got := strings.Join(r.got, " "); got != `"a" "a" "a" "b" "c"` || r.bad != 0 || len(r.keys) != 3 {
		t.Errorf("got %s, %d wrong signatures, keys %v", got, r.bad, r.keys)
	}
	if c := s.Counters(); c["sent_total"] != 2 || c["retries_total"] != 2 || c["dropped_total"] != 1 || c["waiting"] != 0 {
		t.Errorf("counters %v", c)
	}
}

// TestBounded: a receiver that is away costs a bounded queue, and no time at the end.
func TestBounded(t *testing.T) {
	s := New(Config{URL: "http://127.0.0.1:1/", Secret: secret}, slog.New(slog.DiscardHandler))
	for i := range maxQueue + 100 {
		s.Post(i)
	}
	if c := s.Counters(); c["waiting"] > maxQueue || c["dropped_total"] < 90 {
		t.Errorf("counters %v", c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
	for _, c := range []Config{{URL: "x", Secret: secret}, {URL: "http://host/", Secret: "short"}} {
		if c.Validate("webhook") == nil {
			t.Errorf("%+v passed", c)
		}
	}
}
