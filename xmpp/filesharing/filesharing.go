// Package filesharing is the file-sharing component of Jitsi meetings: it tells everybody of files that participants offer, and keeps the list
// for who comes later (jitsi-meet's mod_filesharing_component). The files themselves lie elsewhere.
//
// A client says <file-sharing/> to the component's domain without naming the room. HandleStanza finds out where the sender is; what
// the client says of the author is replaced by what the server knows (parse.go). Joined gives newcomers the list.
package filesharing

import (
	"encoding/json"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// maxFiles of one meeting.
const maxFiles = 256

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	jitsi.Meetings[map[string]json.RawMessage] // files by id
	people                                     jitsi.People
	may                                        func(room, real stanza.JID) bool
}

// New makes the component for domain. may tells who may share files, nil: everybody. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.People, may func(room, real stanza.JID) bool) (*Component, error) {
	base, err := jitsi.New("file-sharing", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{Meetings: jitsi.Keep[map[string]json.RawMessage](base), people: rooms, may: may}, nil
}

// event is what participants are told.
type event struct {
	Type   string                     `json:"type"`
	Event  string                     `json:"event"`
	File   json.RawMessage            `json:"file,omitempty"`
	FileID string                     `json:"fileId,omitempty"`
	Files  map[string]json.RawMessage `json:"files,omitempty"`
}

// Joined gives a newcomer the list.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	c.Lock()
	defer c.Unlock()
	if _, ok := c.Enter(room, real, nick); ok && len(c.Of[room]) > 0 {
		c.Tell(room, event{Type: "file-sharing", Event: "list", Files: c.Of[room]}, real)
	}
}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.message) }

func (c *Component) message(st *stanza.Stanza) *stanza.Error {
	el := jitsi.Child(st, "file-sharing")
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	place, author, err := c.Participant(c.people, st.From)
	if err != nil {
		return err
	}
	if c.may != nil && !c.may(place.Room, st.From) {
		return stanza.ErrForbidden.With("You may not share files here")
	}
	switch el.Attr("type") {
	case "add":
		id, file, err := parseFile(el.Text(), author, place.Room)
		if err != nil {
			return err
		}
		return c.add(place.Room, st.From, id, file)
	case "remove":
		return c.remove(place.Room, st.From, el.Attr("fileId"))
	}
	return stanza.ErrBadRequest.With("type is add or remove")
}

// others are all in a room but from.
func (c *Component) others(room, from stanza.JID) (out []stanza.JID) {
	for _, j := range c.Rooms.Recipients(room) {
		if j != from {
			out = append(out, j)
		}
	}
	return out
}

func (c *Component) add(room, from stanza.JID, id string, file json.RawMessage) *stanza.Error {
	others := c.others(room, from)
	c.Lock()
	defer c.Unlock()
	files := c.Of[room]
	if files == nil {
		files = map[string]json.RawMessage{}
		c.Of[room] = files
	}
	if _, there := files[id]; there {
		return stanza.ErrConflict.With("There is a file of that id")
	}
	if len(files) >= maxFiles {
		return stanza.ErrResourceConstraint.With("There are too many files")
	}
	files[id] = file
	c.Tell(room, event{Type: "file-sharing", Event: "add", File: file}, others...)
	return nil
}

func (c *Component) remove(room, from stanza.JID, id string) *stanza.Error {
	others := c.others(room, from)
	c.Lock()
	defer c.Unlock()
	if _, there := c.Of[room][id]; !there {
		return stanza.ErrItemNotFound.With("There is no such file")
	}
	delete(c.Of[room], id)
	c.Tell(room, event{Type: "file-sharing", Event: "remove", FileID: id}, others...)
	return nil
}
