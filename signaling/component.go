package signaling

import (
	"encoding/json"
	"slices"

	"konzil/xmpp/stanza"
)

// roomEvent is what the components of a room tell the focus as json-message.
type roomEvent struct {
	Type string `json:"type"`
	Room string `json:"room"`

	// av_moderation
	Enabled    *bool               `json:"enabled"`
	Actor      string              `json:"actor"`
	MediaType  string              `json:"mediaType"`
	Whitelists map[string][]string `json:"whitelists"`

	// room_metadata
	Metadata *struct {
		StartMuted *struct {
			Audio bool `json:"audio"`
			Video bool `json:"video"`
		} `json:"startMuted"`
	} `json:"metadata"`
}

// fromComponent takes a message of a component that is believed about rooms.
func (f *Focus) fromComponent(st *stanza.Stanza) {
	el := st.Child(nsJitmeet, "json-message")
	if el == nil || st.From.Local() != "" || !slices.Contains(f.cfg.Components, st.From.Domain()) {
		return
	}
	var ev roomEvent
	if err := json.Unmarshal([]byte(el.Text()), &ev); err != nil {
		f.log.Warn("component sent bad json", "from", st.From, "err", err)
		return
	}
	if ev.Room == "" {
		ev.Room = el.Attr("room")
	}
	room, err := stanza.ParseJID(ev.Room)
	if err != nil {
		return
	}
	m := f.meeting(room)
	if m == nil {
		return
	}
	if !m.box.put(func() { m.roomEvent(&ev) }, maxStanzas) {
		f.count.overflow.Add(1)
	}
}

func (m *meeting) roomEvent(ev *roomEvent) {
	if m.ended {
		return
	}
	switch ev.Type {
	case "room_metadata":
		if ev.Metadata != nil && ev.Metadata.StartMuted != nil {
			m.allAudioMuted, m.allVideoMuted = ev.Metadata.StartMuted.Audio, ev.Metadata.StartMuted.Video
		}
	case "av_moderation":
		m.avModeration(ev)
	}
}

// avModeration switches moderation and mutes whoever may not speak any more.
func (m *meeting) avModeration(ev *roomEvent) {
	for media, list := range ev.Whitelists {
		if mod := m.moderation[media]; mod != nil {
			mod.allowed = set(list)
			m.liftMutes(media)
		}
	}
	if ev.Enabled == nil {
		return
	}
	if !*ev.Enabled {
		delete(m.moderation, ev.MediaType)
		m.liftMutes(ev.MediaType)
		return
	}
	switch ev.MediaType {
	case "audio", "video", "desktop":
	default:
		return
	}
	m.moderation[ev.MediaType] = &moderation{allowed: map[string]bool{}}
	for _, mem := range m.sorted(nil) {
		if mem.moderator() || mem.occ.String() == ev.Actor || mem.isService() {
			continue
		}
		m.forceMute(mem, ev.MediaType, true, func(err error) {
			if err == nil && !mem.left {
				m.tellMuted(mem, ev.MediaType, ev.Actor)
			}
		})
	}
}

// liftMutes lets media of those through whom moderation does not hold any more. Their clients stay muted until they unmute; one that tried in
// vain meanwhile does not ask again.
func (m *meeting) liftMutes(media string) {
	for _, mem := range m.sorted(nil) {
		forced := media == "audio" && mem.audioForced || media == "video" && mem.videoForced
		if forced && !m.moderates(media, mem) {
			m.forceMute(mem, media, false, func(error) {})
		}
	}
}
