package upload

import (
	"context"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"konzil/xmpp"
)

// get gives a file to whoever knows its URL, or a part of it (Range).
func (s *Service) get(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	ctx, cancel := context.WithTimeout(r.Context(), xmpp.StoreTime)
	defer cancel()
	m, there, err := meta{}, false, error(nil)
	if validID(id) {
		m, there, err = s.file(ctx, id)
	}
	if err != nil {
		s.failed("file not looked up", err)
		http.Error(w, "the file could not be read", http.StatusInternalServerError)
		return
	}
	now := s.cfg.now()
	if !there || m.name != r.PathValue("name") || m.expires != 0 && m.expires <= now.Unix() {
		s.count.downloadsMissing.Add(1)
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	f, err := os.Open(s.place(id))
	if err != nil {
		s.failed("file not opened", err)
		http.Error(w, "the file could not be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	s.count.downloads.Add(1)
	typ, show := presented(m.typ)
	disposition := "attachment"
	if show {
		disposition = "inline"
	}
	h := w.Header()
	h.Set("Content-Type", typ)
	h.Set("Content-Disposition", contentDisposition(disposition, m.name))
	h.Set("ETag", `"`+id+`"`) // what has a name never changes
	age := int64(365 * 24 * 3600)
	if m.expires != 0 {
		age = min(age, m.expires-now.Unix())
	}
	h.Set("Cache-Control", "private, immutable, max-age="+strconv.FormatInt(age, 10))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTime(m.size))) // not supported by test recorders
	http.ServeContent(w, r, "", time.Unix(m.created, 0), f)
}

// presented tells as what a file is given, and whether a browser may show it: pictures, sound and plain text. What can hold scripts is bytes.
func presented(typ string) (as string, show bool) {
	const bytes = "application/octet-stream"
	mt := mediaType(typ)
	kind, sub, _ := strings.Cut(mt, "/")
	switch {
	case mt == "", strings.Contains(sub, "html"), strings.Contains(sub, "xml"), strings.Contains(sub, "script"), strings.Contains(sub, "svg"), kind == "multipart", kind == "message":
		return bytes, false
	case kind == "image", kind == "audio", kind == "video":
		return mt, true
	case mt == "text/plain":
		return "text/plain; charset=utf-8", true
	}
	return mt, false
}

// contentDisposition is the header of RFC 6266.
func contentDisposition(how, name string) string {
	if v := mime.FormatMediaType(how, map[string]string{"filename": name}); v != "" {
		return v
	}
	return how
}
