package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"sync"
	"time"
)

// packed keeps files compressed, so that a large script is compressed once and not for each visitor.
type packed struct {
	mu    sync.Mutex // guards all below
	files map[string]*packedFile
	bytes int
}

type packedFile struct {
	once     sync.Once
	modified time.Time
	body     []byte // nil: not worth it
}

const (
	packFrom  = 1 << 10  // smaller files fit a packet or two anyway
	packLimit = 16 << 20 // larger ones are models and maps, which do not shrink or are rarely asked for
	packTotal = 64 << 20 // bytes of all compressed files; a build of jitsi-meet takes 4 MB. What does not fit is sent as it is
)

// get is the compressed content of a file, nil if it is sent as it is. open reads it when that was not done since it changed.
func (p *packed) get(name string, modified time.Time, open func() (io.ReadCloser, error)) []byte {
	p.mu.Lock()
	f := p.files[name]
	if f == nil || !f.modified.Equal(modified) {
		if f != nil {
			p.bytes -= len(f.body)
		}
		if p.files == nil {
			p.files = map[string]*packedFile{}
		}
		f = &packedFile{modified: modified}
		p.files[name] = f
	}
	p.mu.Unlock()
	f.once.Do(func() {
		body := compress(open)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.files[name] == f && p.bytes+len(body) <= packTotal {
			f.body = body
			p.bytes += len(body)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.body
}

// compress reads a file and gives it compressed, nil when it cannot be read or does not shrink.
func compress(open func() (io.ReadCloser, error)) []byte {
	r, err := open()
	if err != nil {
		return nil
	}
	defer r.Close()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	n, err := io.Copy(z, io.LimitReader(r, packLimit))
	if err != nil || z.Close() != nil || int64(out.Len()) > n*9/10 {
		return nil
	}
	return bytes.Clone(out.Bytes())
}
