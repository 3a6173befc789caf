package polls

import (
	"encoding/json"

	"konzil/xmpp/stanza"
)

// maxCommand bytes of what a client says (jitsi-meet's limit).
const maxCommand = 1024

// Commands of clients.
const (
	newPoll    = "new-poll"
	answerPoll = "answer-poll"
)

// command is what a client says, and what all are told.
type command struct {
	Type       string          `json:"type"`
	Command    string          `json:"command"`
	PollID     string          `json:"pollId"`
	Question   string          `json:"question,omitempty"`
	Answers    json.RawMessage `json:"answers"`
	SenderID   string          `json:"senderId"`
	SenderName string          `json:"senderName,omitempty"`

	options []string // of a new poll
	votes   []bool   // of an answer, one for each option
}

// parseCommand reads a new poll, or an answer to one. What a client says of the sender is dropped.
func parseCommand(text string) (*command, *stanza.Error) {
	if len(text) >= maxCommand {
		return nil, stanza.ErrPolicyViolation.With("That is too long for a poll")
	}
	c := &command{}
	if json.Unmarshal([]byte(text), c) != nil || c.Type != "polls" || c.PollID == "" {
		return nil, stanza.ErrBadRequest.With("That is no JSON of type polls")
	}
	c.SenderID, c.SenderName = "", ""
	switch c.Command {
	case newPoll:
		var options []option
		if json.Unmarshal(c.Answers, &options) != nil || len(options) == 0 {
			return nil, stanza.ErrBadRequest.With("A poll has answers")
		}
		for _, o := range options {
			if o.Name == nil {
				return nil, stanza.ErrBadRequest.With("An answer has a name")
			}
			c.options = append(c.options, *o.Name)
		}
		return c, c.answers(options)
	case answerPoll:
		if json.Unmarshal(c.Answers, &c.votes) != nil || len(c.votes) == 0 {
			return nil, stanza.ErrBadRequest.With("Answers are true or false")
		}
		return c, c.answers(c.votes)
	}
	return nil, stanza.ErrBadRequest.With("The command is new-poll or answer-poll")
}

// option is what can be voted for. Who has voted is the server's word.
type option struct {
	Name *string `json:"name"`
}

// answers writes what was understood anew: all clients are to read the same in it.
func (c *command) answers(v any) (bad *stanza.Error) {
	var err error
	if c.Answers, err = json.Marshal(v); err != nil {
		return stanza.ErrBadRequest
	}
	return nil
}
