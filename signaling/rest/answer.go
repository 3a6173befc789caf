package rest

import (
	"strconv"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// answer is a conference-modified.
func answer(m *colibri.ConferenceModified) object {
	out := object{}
	var list []object
	for _, e := range m.Endpoints {
		list = append(list, entity(e.ID, e.Transport, colibri.SCTPServer))
	}
	if list != nil {
		out["endpoints"] = list
	}
	list = nil
	for _, r := range m.Relays {
		list = append(list, entity(r.ID, r.Transport, r.SCTPRole))
	}
	if list != nil {
		out["relays"] = list
	}
	list = nil
	for _, s := range m.Sources.Sources {
		list = append(list, object{"type": string(s.Media), "id": s.Name, "sources": []object{{"ssrc": s.SSRC, "name": s.Name}}})
	}
	if list != nil {
		out["sources"] = list
	}
	return out
}

func entity(id string, t *jingle.Transport, role colibri.SCTPRole) object {
	out := object{"id": id}
	if t == nil {
		return out
	}
	x := object{"transport": transport(t)}
	if t.SCTPPort > 0 {
		x["sctp"] = object{"role": string(role), "port": t.SCTPPort}
	}
	out["transport"] = x
	return out
}

// transport has numbers as text, as JVB writes the attributes of its XML.
func transport(t *jingle.Transport) object {
	prints, candidates := []object{}, []object{}
	for _, f := range t.Fingerprints {
		prints = append(prints, object{"hash": f.Hash, "setup": f.Setup, "fingerprint": f.Value})
	}
	for i, c := range t.Candidates {
		x := object{"foundation": c.Foundation, "component": strconv.Itoa(c.Component), "protocol": c.Protocol, "priority": strconv.FormatUint(uint64(c.Priority), 10),
			"ip": c.Addr.Addr().String(), "port": strconv.Itoa(int(c.Addr.Port())), "type": c.Type, "generation": strconv.Itoa(c.Generation), "id": strconv.Itoa(i + 1), "network": "0"}
		if c.Related.IsValid() {
			x["rel-addr"], x["rel-port"] = c.Related.Addr().String(), strconv.Itoa(int(c.Related.Port()))
		}
		if c.TCPType != "" {
			x["tcptype"] = c.TCPType
		}
		candidates = append(candidates, x)
	}
	out := object{"xmlns": jingle.NSICE, "ufrag": t.Ufrag, "pwd": t.Pwd, "rtcp-mux": true, "fingerprints": prints, "candidates": candidates}
	if t.Generation > 0 {
		out["ice-generation"] = t.Generation
	}
	if len(t.WebSockets) > 0 {
		out["web-sockets"] = t.WebSockets
	}
	return out
}
