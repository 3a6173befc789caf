package filesharing

import (
	"cmp"
	"encoding/json"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

const (
	maxFile = 4096 // bytes of what is said of one file
	maxID   = 128
)

// file is what clients know of a shared file. The last four are the server's word.
type file struct {
	ID        string      `json:"fileId"`
	Name      string      `json:"fileName"`
	Size      json.Number `json:"fileSize"`
	FileType  string      `json:"fileType,omitempty"`
	Timestamp json.Number `json:"timestamp,omitempty"`
	Progress  json.Number `json:"progress,omitempty"`

	AuthorID   string `json:"authorParticipantId"`
	AuthorJID  string `json:"authorParticipantJid"`
	AuthorName string `json:"authorParticipantName"`
	Conference string `json:"conferenceFullName"`
}

// parseFile reads what a client offers.
func parseFile(text string, author jitsi.Person, room stanza.JID) (id string, _ json.RawMessage, _ *stanza.Error) {
	var f file
	switch {
	case len(text) > maxFile:
		return "", nil, stanza.ErrPolicyViolation.With("That is too long for a file")
	case json.Unmarshal([]byte(text), &f) != nil:
		return "", nil, stanza.ErrBadRequest.With("That is no JSON about a file")
	case f.ID == "" || len(f.ID) > maxID || f.Name == "":
		return "", nil, stanza.ErrBadRequest.With("A file has a fileId and a fileName")
	}
	f.AuthorID, f.AuthorJID, f.AuthorName, f.Conference = author.ID(), author.Real.String(), cmp.Or(author.Name, "anonymous"), room.String()
	b, err := json.Marshal(f)
	if err != nil {
		return "", nil, stanza.ErrBadRequest.With("That is no JSON about a file")
	}
	return f.ID, b, nil
}
