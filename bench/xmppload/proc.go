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

// labels are what was negotiated and must not differ among servers that are compared.
func (w *world) labels() map[string]string {
	l := map[string]string{"transport": w.cfg.Transport, "mechanism": w.cfg.Mechanism}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if t, ok := c.top.(*tls.Conn); ok {
			cs := t.ConnectionState()
			l["tls"] = tls.VersionName(cs.Version) + " " + tls.CipherSuiteName(cs.CipherSuite) + " " + cs.CurveID.String()
			break
		}
	}
	return l
}
