// Package polls is the polls component of Jitsi meetings: it passes on polls and votes, and keeps them for who comes later
// (jitsi-meet's mod_polls_component).
//
// A client sends JSON in a message to the component's domain without naming the room. HandleStanza finds out where the sender is,
// parseCommand (command.go) checks what it says, the meeting's polls change, and everybody inside is told, with the sender's id and name as
// the server knows them. Joined gives newcomers all polls so far. Who watches a meeting as a visitor votes and is told as well, but makes none.
package polls

import (
	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// maxPolls of one meeting (jitsi-meet's limit).
const maxPolls = 128

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	jitsi.Meetings[[]*poll] // in order of creation
	people                  jitsi.People
	audience                Audience // nil: there are no visitors
	may                     func(room, real stanza.JID) bool
}

// Audience are the visitors of meetings.
type Audience interface {
	// Watched is the meeting that somebody watches, and who that is there; false: none.
	Watched(real stanza.JID) (room stanza.JID, as jitsi.Person, ok bool)
	// Watching are those who watch a meeting.
	Watching(room stanza.JID) []stanza.JID
}

// poll is one with its votes, as clients read it in the history.
type poll struct {
	ID         string    `json:"pollId"`
	SenderID   string    `json:"senderId"`
	SenderName string    `json:"senderName,omitempty"`
	Question   string    `json:"question"`
	Answers    []*answer `json:"answers"`
}

type answer struct {
	Name   string  `json:"name"`
	Voters []voter `json:"voters,omitempty"`
}

type voter struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// New makes the component for domain. mayCreate tells who may make polls, nil: everybody. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.People, mayCreate func(room, real stanza.JID) bool) (*Component, error) {
	base, err := jitsi.New("polls", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{Meetings: jitsi.Keep[[]*poll](base), people: rooms, may: mayCreate}, nil
}

// Admit lets visitors vote. It comes before the component is mounted.
func (c *Component) Admit(a Audience) { c.audience = a }

// Seated gives a visitor who has come the polls so far.
func (c *Component) Seated(room, real stanza.JID) {
	c.Lock()
	defer c.Unlock()
	if len(c.Of[room]) > 0 {
		c.Tell(room, history{"polls", "old-polls", c.Of[room]}, real)
	}
}

// sender is who says something, and in which meeting; a visitor does not take part.
func (c *Component) sender(real stanza.JID) (room stanza.JID, who jitsi.Person, visitor bool, _ *stanza.Error) {
	place, who, err := c.Participant(c.people, real)
	if err == nil || c.audience == nil {
		return place.Room, who, false, err
	}
	if room, who, visitor = c.audience.Watched(real); !visitor {
		return room, who, false, err
	}
	return room, who, true, nil
}

// history is what a newcomer gets.
type history struct {
	Type    string  `json:"type"`
	Command string  `json:"command"`
	Polls   []*poll `json:"polls"`
}

// Joined gives a newcomer the polls so far.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	c.Lock()
	defer c.Unlock()
	if _, ok := c.Enter(room, real, nick); ok && len(c.Of[room]) > 0 {
		c.Tell(room, history{"polls", "old-polls", c.Of[room]}, real)
	}
}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.message) }

func (c *Component) message(st *stanza.Stanza) *stanza.Error {
	el := jitsi.Child(st, "json-message")
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	room, sender, visitor, err := c.sender(st.From)
	if err != nil {
		return err
	}
	cmd, err := parseCommand(el.Text())
	if err != nil {
		return err
	}
	cmd.SenderID, cmd.SenderName = sender.ID(), sender.Name
	switch {
	case cmd.Command != newPoll:
	case visitor:
		return stanza.ErrNotAllowed.With("Poll cannot be created by visitor node")
	case c.may != nil && !c.may(room, st.From):
		return stanza.ErrNotAllowed.With("Creation of polls not allowed for user")
	}
	all := c.Rooms.Recipients(room)
	if c.audience != nil {
		all = append(all, c.audience.Watching(room)...)
	}
	c.Lock()
	defer c.Unlock()
	if cmd.Command == newPoll {
		err = c.create(room, cmd)
	} else {
		err = c.vote(room, cmd)
	}
	if err == nil {
		c.Tell(room, cmd, all...)
	}
	return err
}

// find gives the poll with that id, nil if there is none. The lock is held, as for what follows.
func (c *Component) find(room stanza.JID, id string) *poll {
	for _, p := range c.Of[room] {
		if p.ID == id {
			return p
		}
	}
	return nil
}

func (c *Component) create(room stanza.JID, cmd *command) *stanza.Error {
	switch {
	case c.find(room, cmd.PollID) != nil:
		return stanza.ErrNotAllowed.With("Poll already exists")
	case len(c.Of[room]) >= maxPolls:
		return stanza.ErrResourceConstraint.With("There are too many polls")
	}
	p := &poll{ID: cmd.PollID, SenderID: cmd.SenderID, SenderName: cmd.SenderName, Question: cmd.Question}
	for _, name := range cmd.options {
		p.Answers = append(p.Answers, &answer{Name: name})
	}
	c.Of[room] = append(c.Of[room], p)
	return nil
}

// vote puts the sender's answers in place of the ones it gave before.
func (c *Component) vote(room stanza.JID, cmd *command) *stanza.Error {
	p := c.find(room, cmd.PollID)
	switch {
	case p == nil:
		return stanza.ErrItemNotFound.With("There is no such poll")
	case len(cmd.votes) != len(p.Answers):
		return stanza.ErrBadRequest.With("The poll has another number of answers")
	}
	for i, a := range p.Answers {
		var kept []voter
		for _, v := range a.Voters {
			if v.ID != cmd.SenderID {
				kept = append(kept, v)
			}
		}
		if a.Voters = kept; cmd.votes[i] {
			a.Voters = append(a.Voters, voter{cmd.SenderID, cmd.SenderName})
		}
	}
	return nil
}
