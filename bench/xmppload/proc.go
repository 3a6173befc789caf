package xmppload

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory is the resident and the proportional set of processes with their children, bytes (proc(5), smaps_rollup).
func memory(pids []int) (rss, pss int64, err error) {
	for _, pid := range family(pids) {
		b, rerr := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if rerr != nil {
			err = rerr
			continue
		}
		sc := bufio.NewScanner(bytes.NewReader(b))
		for sc.Scan() {
			f := strings.Fields(sc.Text())
			if len(f) != 3 {
				continue
			}
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			switch f[0] {
			case "Rss:":
				rss += kb << 10
			case "Pss:":
				pss += kb << 10
			}
		}
	}
	if rss > 0 {
		err = nil // a child that ended meanwhile
	}
	return rss, pss, err
}

// family is pids with all their children.
func family(pids []int) []int {
	out := append([]int(nil), pids...)
	for i := 0; i < len(out); i++ {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", out[i]))
		for _, t := range tasks {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", out[i], t.Name()))
			for _, f := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(f); err == nil {
					out = append(out, n)
				}
			}
		}
	}
	return out
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
