package xmppload

import (
	"crypto/tls"

	"konzil/bench/measure"
)

// memory is the resident and the proportional set of the server's processes, bytes.
func (w *world) memory() (rss, pss int64, err error) {
	u, err := measure.ReadUsage(w.target, true)
	return u.RSS, u.PSS, err
}

// labels are what was negotiated and must not differ among servers that are compared. The cipher of TLS 1.3 is the server's choice, and no client of
// Go's can change it: it is a note (cipher).
func (w *world) labels() map[string]string {
	l := map[string]string{"transport": w.cfg.Transport, "mechanism": w.cfg.Mechanism}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if c.tls != nil {
			cs := c.tls.ConnectionState()
			l["tls"] = tls.VersionName(cs.Version) + " " + cs.CurveID.String()
			break
		}
	}
	return l
}

// notes are what was negotiated and may differ.
func (w *world) notes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if c.tls != nil {
			return []string{"cipher: " + tls.CipherSuiteName(c.tls.ConnectionState().CipherSuite)}
		}
	}
	return nil
}
