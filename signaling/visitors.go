package signaling

import (
	"slices"
	"strings"
)

// audienceSize is what those in a meeting are told of its visitors.
type audienceSize struct {
	count  int
	codecs string // video codecs that all of them can decode, the best first
}

// people counts the members who take part and for whom is holds.
func (m *meeting) people(is func(*member) bool) int {
	n := 0
	for _, mem := range m.members {
		if !mem.visitor() && is(mem) {
			n++
		}
	}
	return n
}

// redirect names the node where a newcomer is to go instead, "" for none. A client that does not know visitors says no version of them.
func (m *meeting) redirect(req *request) string {
	if m.f.cfg.Audience == nil || req.props["visitors-version"] == "" {
		return ""
	}
	return m.f.cfg.Audience.Redirect(m.room, req.from, req.props["visitor"] == "true", m.people((*member).eligible))
}

// countVisitors tells the meeting how many visitors there are, after a while in which more may come.
func (m *meeting) countVisitors() {
	if m.visitorTimer != nil || m.ended {
		return
	}
	m.visitorTimer = m.after(m.f.cfg.VisitorInterval, func() {
		m.visitorTimer = nil
		if now := m.audience(); now != m.visitors {
			m.visitors = now
			m.announce()
		}
	})
}

// audience is the size of the audience now. Codecs are in the order that visitors prefer on the whole (jicofo's PreferenceAggregator).
func (m *meeting) audience() audienceSize {
	a := audienceSize{}
	rank, known := map[string]int{}, map[string]int{}
	voters := 0
	for _, mem := range m.members {
		if !mem.visitor() {
			continue
		}
		a.count++
		if len(mem.codecs) == 0 {
			continue
		}
		voters++
		for i, codec := range mem.codecs {
			if slices.Index(mem.codecs, codec) == i { // once
				rank[codec] += i
				known[codec]++
			}
		}
	}
	var all []string
	for codec, n := range known {
		if n == voters && codec != "" {
			all = append(all, codec)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if rank[a] != rank[b] {
			return rank[a] - rank[b]
		}
		return strings.Compare(a, b)
	})
	a.codecs = strings.Join(all, ",")
	return a
}
