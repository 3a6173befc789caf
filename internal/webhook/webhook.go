// Package webhook posts what happens to an operator's web server: in order, signed, and again when it does not get through.
//
// The path, in order:
//
//  1. Sender.Post, on any goroutine, puts an event into a bounded queue; when that is full the oldest goes, and is counted.
//  2. Sender.run, one goroutine, takes one after another: sign, POST, and wait longer after each failure. What is refused for good (4xx), or was tried
//     maxTries times, is dropped and counted.
//  3. Shutdown lets it go through the queue once more until its time is up.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Limits.
const (
	maxQueue = 1000             // events that wait: an hour of a busy server's comings and goings while the receiver restarts
	maxTries = 8                // about four minutes
	firstGap = time.Second      // after the first failure; doubled after each further one
	maxGap   = 64 * time.Second // and no longer than that
	timeout  = 10 * time.Second // of one try
)

// Config is where events go.
type Config struct {
	URL    string `yaml:"url" doc:"Where events of meetings are posted as JSON: rooms, participants, recordings. Empty: nowhere."`
	Secret string `yaml:"secret" doc:"Signs them: header X-Konzil-Signature has t=UNIX MILLISECONDS,v1=BASE64, an HMAC-SHA256 over t, a dot and the body."`
}

// Validate checks the settings; name is theirs in the file.
func (c Config) Validate(name string) error {
	if c.URL == "" {
		return nil
	}
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s.url: %q is no URL: write https://host/path", name, c.URL)
	}
	if len(c.Secret) < 16 {
		return fmt.Errorf("%s.secret: %d bytes can be guessed: give 16 or more", name, len(c.Secret))
	}
	return nil
}

// Sender posts events. Its goroutine runs until Shutdown.
type Sender struct {
	cfg    Config
	log    *slog.Logger
	client *http.Client
	pause  func(time.Duration) <-chan time.Time

	ctx    context.Context // ends the goroutine
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // holds one token while there may be something to do

	mu      sync.Mutex // guards all below
	queue   []item
	closing bool

	sent, retried, dropped atomic.Uint64
}

// item is an event with the key by which a receiver knows it again.
type item struct {
	key  string
	body []byte
}

// New starts a sender.
func New(cfg Config, log *slog.Logger) *Sender {
	s := &Sender{cfg: cfg, log: log, client: &http.Client{Timeout: timeout}, pause: time.After, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

// Post queues an event; it does not wait.
func (s *Sender) Post(event any) {
	body, err := json.Marshal(event)
	if err != nil {
		s.log.Error("event is no JSON", "err", err)
		s.dropped.Add(1)
		return
	}
	s.mu.Lock()
	if len(s.queue) >= maxQueue {
		s.queue = s.queue[1:]
		s.dropped.Add(1)
	}
	s.queue = append(s.queue, item{uuid.NewString(), body})
	s.mu.Unlock()
	s.signal()
}

func (s *Sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest event; false: there is none, over: and there will be none.
func (s *Sender) next() (it item, ok, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return item{}, false, s.closing
	}
	it, s.queue = s.queue[0], s.queue[1:]
	return it, true, false
}

func (s *Sender) run() {
	defer close(s.done)
	defer s.client.CloseIdleConnections()
	for {
		it, ok, over := s.next()
		switch {
		case over:
			return
		case ok:
			s.deliver(it)
		default:
			select {
			case <-s.wake:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// deliver tries until it gets through, is refused, or has been tried too often.
func (s *Sender) deliver(it item) {
	gap := firstGap
	for try := 1; ; try++ {
		again, err := s.try(it)
		if err == nil {
			s.sent.Add(1)
			return
		}
		if !again || try == maxTries || s.ctx.Err() != nil {
			s.dropped.Add(1)
			s.log.Warn("event not delivered", "tries", try, "err", err)
			return
		}
		s.retried.Add(1)
		select {
		case <-s.pause(gap):
		case <-s.ctx.Done():
		}
		gap = min(2*gap, maxGap)
	}
}

// try posts once; again tells whether another try may help.
func (s *Sender) try(it item) (again bool, err error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(it.body))
	if err != nil {
		return false, err
	}
	t := strconv.FormatInt(time.Now().UnixMilli(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", it.key)
	r.Header.Set("X-Konzil-Signature", "t="+t+",v1="+Sign(s.cfg.Secret, t, it.body))
	resp, err := s.client.Do(r)
	if err != nil {
		return true, err
	}
	resp.Body.Close()
	switch c := resp.StatusCode; {
	case c < 300:
		return false, nil
	case c == http.StatusTooManyRequests || c == http.StatusRequestTimeout || c >= 500:
		return true, fmt.Errorf("the receiver says %s", resp.Status)
	}
	return false, fmt.Errorf("the receiver says %s", resp.Status)
}

// Sign is the signature of a body posted at t, milliseconds since 1970.
func Sign(secret, t string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// Shutdown sends what waits until ctx ends.
func (s *Sender) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.signal()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cancel()
		<-s.done
	}
	s.cancel()
}

// Counters are numbers for metrics.
func (s *Sender) Counters() map[string]uint64 {
	s.mu.Lock()
	n := len(s.queue)
	s.mu.Unlock()
	return map[string]uint64{"waiting": uint64(n), "sent_total": s.sent.Load(), "retries_total": s.retried.Load(), "dropped_total": s.dropped.Load()}
}
