package upload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/store"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Config of the service. All sizes are bytes.
type Config struct {
	Domain string // of the service: upload.example.org
	URL    string // how people reach Handler, with a slash at its end: https://example.org/upload/
	Dir    string // folder of the files
	Secret []byte // signs slots

	MaxFile  int64         // of one file
	Quota    int64         // of all files of an account together; 0: no limit
	MaxTotal int64         // of all files; 0: no limit
	Keep     time.Duration // how long files are kept; 0: for ever

	// May tells whether somebody gets slots.
	May func(who stanza.JID) bool

	now func() time.Time // nil: the clock
}

const (
	slotLife       = 5 * time.Minute // to begin with the upload; XEP-0363 §7 wants it short
	keepEphemeral  = 24 * time.Hour  // of what is said to be needed for a moment only
	maxName        = 200             // bytes of a file name: with its percent signs it has to fit into a URL
	maxType        = 255             // bytes of a media type
	maxUploads     = 256             // at a time, in all: each has a file open
	maxUploadsEach = 8               // at a time of one account
	leastRate      = 8 << 10         // bytes a second; a slower transfer is cut off
	graceTime      = time.Minute     // that every transfer has besides
	sweepEvery     = time.Hour
)

// Service is the service's domain and its HTTP side. Use New, mount it and Handler, then Start.
type Service struct {
	xmpp.IQService
	cfg Config
	db  *store.DB
	log *slog.Logger

	mu     sync.Mutex // guards below
	going  map[string]bool
	owners map[string]*ongoing

	stop    context.CancelFunc
	running sync.WaitGroup

	count struct {
		slots, refused, uploads, uploadsFailed, bytesIn, downloads, downloadsMissing, removed, orphans, failures atomic.Uint64
		files, bytes                                                                                             atomic.Int64
	}
}

// ongoing is what an account is uploading.
type ongoing struct {
	n     int
	bytes int64
}

// New prepares the folder. What uploads a crash has cut off is removed.
func New(cfg Config, router xmpp.Router, db *store.DB, log *slog.Logger) (*Service, error) {
	domain, err := stanza.ParseJID(cfg.Domain)
	if err != nil {
		return nil, err
	}
	if len(cfg.Secret) < 16 || !strings.HasSuffix(cfg.URL, "/") || cfg.May == nil {
		return nil, errors.New("upload: the service needs a secret of 16 bytes, a URL with a slash at its end and to know who may upload")
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s := &Service{cfg: cfg, db: db, log: log, going: map[string]bool{}, owners: map[string]*ongoing{}}
	s.IQService = xmpp.IQService{
		Router: router, JID: domain, Category: "store", Type: "file", Name: "HTTP File Upload",
		Features: features(), Forms: []*stanza.Element{limitForm(cfg.MaxFile)}, Answer: s.answer,
	}
	if err := os.RemoveAll(s.dir("incoming")); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	if err := os.MkdirAll(s.dir("incoming"), 0o700); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	return s, s.measure()
}

func (s *Service) dir(parts ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, parts...)...)
}

// place is the file of an id: folders of two letters, so that none has too many files.
func (s *Service) place(id string) string { return s.dir(id[:2], id) }

// Counters are numbers for metrics.
func (s *Service) Counters() map[string]uint64 {
	c := &s.count
	return map[string]uint64{
		"slots_total": c.slots.Load(), "slots_refused_total": c.refused.Load(), "uploads_total": c.uploads.Load(), "uploads_failed_total": c.uploadsFailed.Load(),
		"bytes_in_total": c.bytesIn.Load(), "downloads_total": c.downloads.Load(), "downloads_missing_total": c.downloadsMissing.Load(),
		"removed_total": c.removed.Load(), "orphans_total": c.orphans.Load(), "store_errors_total": c.failures.Load(),
		"files_now": uint64(max(0, c.files.Load())), "bytes_now": uint64(max(0, c.bytes.Load())),
	}
}

// begin takes a place among the uploads under way; false: there are too many, of all or of the owner, or this one is under way already.
func (s *Service) begin(t ticket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[t.owner]
	if s.going[t.id] || len(s.going) >= maxUploads || o != nil && o.n >= maxUploadsEach {
		return false
	}
	if o == nil {
		o = &ongoing{}
		s.owners[t.owner] = o
	}
	s.going[t.id] = true
	o.n++
	o.bytes += t.size
	return true
}

func (s *Service) end(t ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.going, t.id)
	o := s.owners[t.owner]
	if o.n--; o.n == 0 {
		delete(s.owners, t.owner)
		return
	}
	o.bytes -= t.size
}

// underWay is how much an account is uploading now, bytes.
func (s *Service) underWay(owner string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[owner]; o != nil {
		return o.bytes
	}
	return 0
}

func (s *Service) failed(what string, err error) {
	s.count.failures.Add(1)
	s.log.Error("upload: "+what, "err", err)
}
