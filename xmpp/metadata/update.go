package metadata

import (
	"bytes"
	"encoding/json"

	"konzil/xmpp/stanza"
)

const (
	maxUpdate = 32 << 10 // bytes of one update
	maxKey    = 64       // bytes of a key
)

// serverKeys are what only the server may say.
var serverKeys = map[string]bool{
	"allownersEnabled": true, "asyncTranscription": true, "audioTranslationRequests": true, "conferencePresetsServiceEnabled": true,
	"dialinEnabled": true, "moderators": true, "participants": true, "participantsSoftLimit": true, "services": true,
	"transcriberType": true, "transcription": true, "visitorsEnabled": true,
}

// parseUpdate reads {"type":"room_metadata","key":...,"data":...}. Nil data is for a key that is to be removed.
func parseUpdate(text string) (key string, data json.RawMessage, err *stanza.Error) {
	if len(text) > maxUpdate {
		return "", nil, stanza.ErrPolicyViolation.With("The update is too big")
	}
	var u struct {
		Type string          `json:"type"`
		Key  string          `json:"key"`
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal([]byte(text), &u) != nil || u.Type != "room_metadata" {
		return "", nil, stanza.ErrBadRequest.With("That is no JSON of type room_metadata")
	}
	switch {
	case u.Key == "" || len(u.Key) > maxKey:
		return "", nil, stanza.ErrBadRequest.With("The key is missing or too long")
	case serverKeys[u.Key]:
		return "", nil, stanza.ErrNotAllowed.With("That key is the server's")
	case len(u.Data) == 0 || string(u.Data) == "null":
		return u.Key, nil, nil
	}
	var b bytes.Buffer
	if json.Compact(&b, u.Data) != nil {
		return "", nil, stanza.ErrBadRequest
	}
	return u.Key, b.Bytes(), nil
}
