package meet

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// features are what lib-jitsi-meet announces, as far as this client has it.
func (c *Client) features() []string {
	f := []string{"http://jitsi.org/receive-multiple-video-streams", "http://jitsi.org/source-name", "http://jitsi.org/tcc", nsDisco, "urn:ietf:rfc:4588",
		"urn:ietf:rfc:5761", "urn:ietf:rfc:5888", nsDTLS, nsRTP, "urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video", nsJingle,
		nsICE, nsPing}
	if c.cfg.Media == nil {
		f = append(f, nsSCTP)
	}
	if !c.cfg.NoRewriting {
		f = append(f, "http://jitsi.org/ssrc-rewriting-1")
	}
	if !c.cfg.XMLSources {
		f = append(f, "http://jitsi.org/json-encoded-sources")
	}
	slices.Sort(f)
	return f
}

const capsNode = "https://jitsi.org/jitsi-meet"

// caps is the verification string of the features (XEP-0115 §5.1).
func (c *Client) caps() string {
	h := sha1.New() // what the protocol asks for
	h.Write([]byte("client/web//konzil-bench<" + strings.Join(c.features(), "<") + "<"))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// presence writes the client's full presence; join asks to enter.
func (c *Client) presence(join bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<presence xmlns='jabber:client' to='%s/%s'>", esc(c.cfg.room()), c.id)
	if join {
		fmt.Fprintf(&b, "<x xmlns='%s'/>", nsMUC)
	}
	info := fmt.Sprintf(`{"%s-a0":{"muted":%t},"%s-v0":{"muted":%t}`, c.id, c.cfg.NoAudio, c.id, c.cfg.NoVideo)
	c.mu.Lock()
	if c.screen {
		info += fmt.Sprintf(`,"%s-v1":{"muted":false,"videoType":"desktop"}`, c.id)
	}
	c.mu.Unlock()
	fmt.Fprintf(&b, "<stats-id>konzil-bench</stats-id><c xmlns='%s' hash='sha-1' node='%s' ver='%s'/><SourceInfo>%s</SourceInfo><jitsi_participant_codecList>vp8</jitsi_participant_codecList><nick xmlns='%s'>%s</nick></presence>",
		nsCaps, capsNode, esc(c.caps()), esc(info+"}"), nsNick, esc(or(c.cfg.Nick, c.id)))
	return b.String()
}

func (c *Client) gotPresence(e *Element) {
	room, nick, _ := strings.Cut(e.Attr("from"), "/")
	if room != c.cfg.room() {
		return
	}
	typ := e.Attr("type")
	if typ == "error" {
		select {
		case c.joined <- stanzaError(e):
		default:
		}
		return
	}
	self := nick == c.id
	x := e.Child(nsMUCUser, "x")
	for _, s := range x.All(nsMUCUser, "status") {
		self = self || s.Attr("code") == "110"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if typ == "unavailable" {
		delete(c.occupants, nick)
		if self && !c.isLeft {
			c.isLeft = true
			close(c.left)
		}
		return
	}
	switch {
	case self:
		select {
		case c.joined <- nil:
		default:
		}
	case nick == "focus":
		c.focusSeen = true
	default:
		c.occupants[nick] = true
	}
	if x.Child(nsMUCUser, "item").attrOf("jid") == "" && len(c.notes) < maxNotes {
		c.notes = append(c.notes, "presence without a real JID: "+nick)
	}
}
