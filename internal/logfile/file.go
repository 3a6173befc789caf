package logfile

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dayFormat = "2006-01-02"
	maxDay    = 1 << 30 // bytes of one day's file; what comes above is dropped: a stranger who causes errors shall not fill the disk
)

// Config is what the operator decides.
type Config struct {
	Path      string        // of the current file; those of earlier days have their date behind it
	MaskAfter time.Duration // how long addresses stay whole; 0: they never are
	Keep      time.Duration // how long a file is kept after its day; 0: for ever
}

// File is a log file. Write may be called from any goroutine.
type File struct {
	cfg    Config
	errOut io.Writer // for what cannot be written to the file
	now    func() time.Time

	// of the goroutine that tends
	day  string
	done map[string]int64 // by name: bytes of the file whose lines are masked, or need not be

	mu   sync.Mutex // guards file, size
	file *os.File   // nil: closed
	size int64

	masked, dropped, failures atomic.Uint64

	quit, ended chan struct{}
}

// Open opens or makes the file, and tends it and those of earlier days until Close. errOut gets, with addresses shortened, what the file does not take.
func Open(cfg Config, errOut io.Writer) (*File, error) {
	f, err := open(cfg, errOut, time.Now)
	if err != nil {
		return nil, err
	}
	go f.run()
	return f, nil
}

func open(cfg Config, errOut io.Writer, now func() time.Time) (*File, error) {
	f := &File{cfg: cfg, errOut: Shortener{errOut}, now: now, done: map[string]int64{}, quit: make(chan struct{}), ended: make(chan struct{})}
	f.day = now().Format(dayFormat)
	if st, err := os.Stat(cfg.Path); err == nil {
		if day := st.ModTime().In(now().Location()).Format(dayFormat); day != f.day {
			if err := f.putAside(day); err != nil {
				return nil, err
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, f.begin()
}

// begin opens the current file.
func (f *File) begin() error {
	file, err := os.OpenFile(f.cfg.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		err = f.file.Close()
	}
	f.file, f.size = file, st.Size()
	return err
}

// Write appends a line.
func (f *File) Write(line []byte) (int, error) {
	if f.cfg.MaskAfter == 0 {
		line = shorten(line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.file == nil:
		return f.errOut.Write(line)
	case f.size+int64(len(line)) > maxDay:
		f.dropped.Add(1)
		return len(line), nil
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	if err != nil {
		f.failures.Add(1)
		return f.errOut.Write(line)
	}
	return n, nil
}

// Close ends the tending and closes the file; what is written afterwards goes to errOut.
func (f *File) Close() error {
	close(f.quit)
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.file.Close()
	f.file = nil
	return err
}

// Counters are numbers for metrics.
func (f *File) Counters() map[string]uint64 {
	return map[string]uint64{"masked_total": f.masked.Load(), "dropped_total": f.dropped.Load(), "failures_total": f.failures.Load()}
}

// failed tells of an error in the log itself: there is no better place.
func (f *File) failed(what string, err error) {
	f.failures.Add(1)
	slog.New(slog.NewTextHandler(f, nil)).Error(what, "part", "log", "err", err)
}
