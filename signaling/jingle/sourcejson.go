package jingle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"konzil/xmpp/stanza"
)

// The compact form: {"sources":{OWNER:[videoSources, videoGroups, audioSources, audioGroups?]}}.
type jsonSource struct {
	S uint64 `json:"s"`
	N string `json:"n,omitempty"`
	M string `json:"m,omitempty"`
	V string `json:"v,omitempty"` // "d": desktop
}

// jsonElement is the <json-message/> with sources.
func jsonElement(sources []Owned) *stanza.Element {
	return stanza.TextElement(NSJitmeet, "json-message", string(appendJSON(nil, sources)))
}

// appendJSON appends sources in the compact form, owners in the order given.
func appendJSON(dst []byte, sources []Owned) []byte {
	dst = append(dst, `{"sources":{`...)
	for i, o := range sources {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, o.Owner)
		dst = append(dst, ':', '[')
		dst = appendValue(dst, jsonSources(o.SourceSet, Video))
		dst = append(dst, ',')
		dst = appendValue(dst, jsonGroups(o.SourceSet, Video))
		dst = append(dst, ',')
		dst = appendValue(dst, jsonSources(o.SourceSet, Audio))
		if g := jsonGroups(o.SourceSet, Audio); len(g) > 0 {
			dst = append(dst, ',')
			dst = appendValue(dst, g)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}', '}')
}

func appendValue(dst []byte, v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return append(dst, "null"...) // strings, numbers and slices of them always encode
	}
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
}

func jsonSources(s SourceSet, m Media) []jsonSource {
	out := []jsonSource{}
	for _, x := range s.Sources {
		if x.Media != m {
			continue
		}
		j := jsonSource{S: uint64(x.SSRC), N: x.Name, M: x.MSID}
		if x.VideoType == "desktop" {
			j.V = "d"
		}
		out = append(out, j)
	}
	return out
}

func jsonGroups(s SourceSet, m Media) [][]any {
	out := [][]any{}
	for _, g := range s.Groups {
		if g.Media != m {
			continue
		}
		var row []any
		switch g.Semantics {
		case SIM:
			row = append(row, "s")
		case FID:
			row = append(row, "f")
		default: // the form knows no other: only clients that asked for it get it
			row = append(row, g.Semantics)
		}
		for _, x := range g.SSRCs {
			row = append(row, x)
		}
		out = append(out, row)
	}
	return out
}

var errJSON = errors.New("bad json sources")

// parseJSON reads the compact form. Owners come in no particular order. A message that is JSON but holds no sources is none.
func parseJSON(text []byte) ([]Owned, error) {
	var top struct {
		Sources map[string][]json.RawMessage `json:"sources"`
	}
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, fmt.Errorf("%w: %v", errJSON, err)
	}
	var out []Owned
	for owner, parts := range top.Sources {
		o := Owned{Owner: owner}
		for i, raw := range parts {
			m := Video
			if i >= 2 {
				m = Audio
			}
			var err error
			switch i {
			case 0, 2:
				err = parseJSONSources(raw, m, &o.SourceSet)
			case 1, 3:
				err = parseJSONGroups(raw, m, &o.SourceSet)
			}
			if err == nil {
				err = checkSize(&o.SourceSet)
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, o)
	}
	return out, nil
}

func parseJSONSources(raw json.RawMessage, m Media, set *SourceSet) error {
	var list []jsonSource
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("%w: %v", errJSON, err)
	}
	for _, x := range list {
		if x.S == 0 || x.S > 1<<32-1 {
			return fmt.Errorf("%w: ssrc %d", errJSON, x.S)
		}
		s := Source{SSRC: uint32(x.S), Media: m, Name: x.N, MSID: x.M}
		if x.V == "d" {
			s.VideoType = "desktop"
		}
		set.Sources = append(set.Sources, s)
	}
	return nil
}

func parseJSONGroups(raw json.RawMessage, m Media, set *SourceSet) error {
	var list [][]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("%w: %v", errJSON, err)
	}
	for _, row := range list {
		if len(row) == 0 {
			return fmt.Errorf("%w: empty group", errJSON)
		}
		var sem string
		if err := json.Unmarshal(row[0], &sem); err != nil {
			return fmt.Errorf("%w: %v", errJSON, err)
		}
		g := Group{Media: m}
		switch sem {
		case "f":
			g.Semantics = FID
		case "s":
			g.Semantics = SIM
		default:
			return fmt.Errorf("%w: group %q", errJSON, clip(sem))
		}
		for _, r := range row[1:] {
			var n uint32
			if err := json.Unmarshal(r, &n); err != nil || n == 0 {
				return fmt.Errorf("%w: ssrc %s", errJSON, clip(string(r)))
			}
			g.SSRCs = append(g.SSRCs, n)
		}
		set.Groups = append(set.Groups, g)
	}
	return nil
}
