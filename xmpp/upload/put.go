package upload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"konzil/internal/httpd"
	"konzil/xmpp"
)

// Handler serves the files below the path of Config.URL, which it is mounted at as PREFIX{id}/{name}.
func (s *Service) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			s.get(w, r)
		case http.MethodPut:
			s.put(w, r)
		case http.MethodOptions:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", methods)
			http.Error(w, "files are put and got", http.StatusMethodNotAllowed)
		}
	})
}

const methods = "GET, HEAD, PUT, OPTIONS"

// headers are those of all answers: any web client may use them (XEP-0363 §6), and nothing that was uploaded runs in a browser.
func headers(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Content-Type, Range, If-Range")
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Content-Disposition, ETag")
	h.Set("Access-Control-Max-Age", "7200")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex")
}

// put takes a file (XEP-0363 §6).
func (s *Service) put(w http.ResponseWriter, r *http.Request) {
	t, err := readTicket(s.cfg.Secret, r.PathValue("id"), r.PathValue("name"), r.URL.Query().Get("ticket"))
	code, text := s.checkPut(r, t, err)
	if code != 0 {
		s.refuse(w, code, text)
		return
	}
	if !s.begin(t) {
		w.Header().Set("Retry-After", "5")
		s.refuse(w, http.StatusTooManyRequests, "too many uploads at a time")
		return
	}
	defer s.end(t)
	ctx, cancel := context.WithTimeout(r.Context(), xmpp.StoreTime)
	_, there, err := s.file(ctx, t.id)
	if err == nil && !there {
		err = s.fits(ctx, s.db.Read(), t.owner, s.underWay(t.owner)) // this one is among them
	}
	cancel()
	switch {
	case errors.As(err, new(quotaError)):
		s.refuse(w, http.StatusInsufficientStorage, err.Error())
		return
	case err != nil:
		s.failed("file not looked up", err)
		s.refuse(w, http.StatusInternalServerError, "the file could not be stored")
		return
	case there:
		s.refuse(w, http.StatusConflict, "this slot has been used")
		return
	}
	httpd.LimitBody(w, r, t.size+1, transferTime(t.size))
	switch err := s.receive(r.Context(), t, r.Body); {
	case err == nil:
		s.count.uploads.Add(1)
		s.count.bytesIn.Add(uint64(t.size))
		w.WriteHeader(http.StatusCreated)
	case errors.As(err, new(quotaError)):
		s.refuse(w, http.StatusInsufficientStorage, err.Error())
	case errors.Is(err, errShort):
		s.refuse(w, http.StatusBadRequest, err.Error())
	default:
		s.failed("file not stored", err)
		s.refuse(w, http.StatusInternalServerError, "the file could not be stored")
	}
}

func (s *Service) refuse(w http.ResponseWriter, code int, text string) {
	s.count.uploadsFailed.Add(1)
	http.Error(w, text, code)
}

// transferTime is how long n bytes may take.
func transferTime(n int64) time.Duration {
	return graceTime + time.Duration(n/leastRate)*time.Second
}

// checkPut finds what is wrong with an upload before its body is read; code 0: nothing.
func (s *Service) checkPut(r *http.Request, t ticket, err error) (code int, text string) {
	sent := r.Header.Get("Content-Type")
	switch {
	case err != nil:
		return http.StatusForbidden, "this is no slot of ours"
	case s.cfg.now().Unix() > t.until:
		return http.StatusForbidden, "this slot has expired"
	case r.Header.Get("Content-Encoding") != "":
		return http.StatusUnsupportedMediaType, "files are sent as they are, without Content-Encoding"
	case r.Header.Get("Content-Range") != "": // RFC 9110 §14.5
		return http.StatusBadRequest, "files are sent whole"
	case r.ContentLength < 0:
		return http.StatusLengthRequired, "the length has to be told"
	case r.ContentLength > t.size:
		return http.StatusRequestEntityTooLarge, "this is more than the slot is for"
	case r.ContentLength != t.size:
		return http.StatusBadRequest, "the length is not that of the slot"
	case t.typ != "" && sent != "" && mediaType(sent) != mediaType(t.typ):
		return http.StatusUnsupportedMediaType, "the type is not that of the slot"
	}
	return 0, ""
}

// errShort is for a body that ended early.
var errShort = errors.New("the file did not come whole")

// receive writes body to disk and then to the database: when it returns nil, the file is there whole after any crash.
func (s *Service) receive(ctx context.Context, t ticket, body io.Reader) (err error) {
	name := s.dir("incoming", t.id)
	if err := writeFile(name, body, t.size); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(name)))
	}
	place := s.place(t.id)
	if err := os.Mkdir(filepath.Dir(place), 0o700); err == nil {
		err = syncDir(s.cfg.Dir)
		if err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Rename(name, place); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(name)))
	}
	if err := syncDir(filepath.Dir(place)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), xmpp.StoreTime) // the file is there: the client's going away changes nothing
	defer cancel()
	if err := s.enter(ctx, t); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(place)))
	}
	return nil
}

// writeFile makes a file of exactly size bytes and flushes it.
func writeFile(name string, body io.Reader, size int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // twice after success
	n, err := io.Copy(f, &sourceReader{r: body})
	var src *sourceError
	switch {
	case errors.As(err, &src), err == nil && n != size:
		return errShort
	case err != nil:
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// sourceReader marks errors as those of who sends, not of the disk.
type sourceReader struct{ r io.Reader }

type sourceError struct{ error }

func (s *sourceReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF { // io.Reader's contract
		err = &sourceError{err}
	}
	return n, err
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
