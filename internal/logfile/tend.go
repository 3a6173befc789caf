package logfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Bounds of how often files are tended. Addresses are masked two such times early, so that they never are whole for longer than is wanted.
const (
	leastTend = time.Second
	mostTend  = time.Minute
)

// interval is how often files are tended.
func (f *File) interval() time.Duration {
	if f.cfg.MaskAfter == 0 {
		return mostTend
	}
	return min(max(f.cfg.MaskAfter/8, leastTend), mostTend)
}

func (f *File) run() {
	defer close(f.ended)
	tick := time.NewTicker(f.interval())
	defer tick.Stop()
	for {
		f.tend(f.now())
		select {
		case <-f.quit:
			return
		case <-tick.C:
		}
	}
}

// tend does what there is to do at a time.
func (f *File) tend(now time.Time) {
	if day := now.Format(dayFormat); day != f.day {
		if err := f.newDay(day); err != nil {
			f.failed("no new log file", err)
		}
	}
	for name, day := range f.earlier(now.Location()) {
		if f.cfg.Keep == 0 || now.Sub(day.AddDate(0, 0, 1)) <= f.cfg.Keep {
			f.mask(name, now)
			continue
		}
		if err := os.Remove(name); err != nil {
			f.failed("old log file not removed", err)
		}
		delete(f.done, name)
	}
	f.mask(f.cfg.Path, now)
}

// earlier gives the files of earlier days with the beginning of each.
func (f *File) earlier(zone *time.Location) map[string]time.Time {
	entries, err := os.ReadDir(filepath.Dir(f.cfg.Path))
	if err != nil {
		f.failed("log files not found", err)
	}
	out := map[string]time.Time{}
	for _, e := range entries {
		if date, ok := strings.CutPrefix(e.Name(), filepath.Base(f.cfg.Path)+"."); ok {
			if day, err := time.ParseInLocation(dayFormat, date, zone); err == nil {
				out[f.cfg.Path+"."+date] = day
			}
		}
	}
	return out
}

// newDay begins the file of a day.
func (f *File) newDay(day string) error {
	if err := f.putAside(f.day); err != nil {
		return err
	}
	f.day = day
	return f.begin()
}

// putAside names the current file after its day. One that is there already, from before a change of the clock, is kept: its lines go before.
func (f *File) putAside(day string) error {
	name := f.cfg.Path + "." + day
	f.done[name] = f.done[f.cfg.Path]
	delete(f.done, f.cfg.Path)
	if _, err := os.Stat(name); err == nil {
		return f.join(name)
	}
	return os.Rename(f.cfg.Path, name)
}

// join appends the current file to one of the same day.
func (f *File) join(name string) (err error) {
	f.done[name] = 0
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	from, err := os.Open(f.cfg.Path)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return os.Remove(f.cfg.Path)
}

// mask shortens the addresses in lines of a file that are nearly as old as they may be. Files that were there before the start are read from their
// beginning once: what is short already stays as it is.
func (f *File) mask(name string, now time.Time) {
	if f.cfg.MaskAfter == 0 {
		return
	}
	if err := f.maskUntil(name, now.Add(2*f.interval()-f.cfg.MaskAfter)); err != nil {
		f.failed("addresses not masked", err)
	}
}

// maskUntil does it up to the first line that is not older than limit.
func (f *File) maskUntil(name string, limit time.Time) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	at := f.done[name]
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return err
	}
	for r := bufio.NewReader(file); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF { //nolint:errorlint // bufio's contract
			break // what is there of a line that is being written comes the next time
		}
		if err != nil {
			return err
		}
		if t, ok := stamp(line); ok && !t.Before(limit) {
			break
		}
		if short := shorten(line); !bytes.Equal(short, line) {
			if _, err := file.WriteAt(short, at); err != nil {
				return err
			}
			f.masked.Add(1)
		}
		at += int64(len(line))
		f.done[name] = at
	}
	return nil
}

// stamp is the time of a line as slog's handlers write it; false: it has none, and belongs to the one before.
func stamp(line []byte) (time.Time, bool) {
	rest, ok := bytes.CutPrefix(line, []byte("time="))
	if !ok {
		if rest, ok = bytes.CutPrefix(line, []byte(`{"time":"`)); !ok {
			return time.Time{}, false
		}
	}
	end := bytes.IndexAny(rest, "\" ")
	if end < 0 {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(rest[:end]))
	return t, err == nil
}
