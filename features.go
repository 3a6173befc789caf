package main

import (
	"context"

	"konzil/xmpp/ext"
	"konzil/xmpp/mam"
	"konzil/xmpp/pubsub"
	"konzil/xmpp/push"
	"konzil/xmpp/roster"
	"konzil/xmpp/stanza"
)

// attachFeatures hooks what clients need on top of routing. The order matters where a comment says so.
func (s *server) attachFeatures() (err error) {
	x, domain := s.xmpp, s.cfg.Domain
	stored := ext.SQLStore{DB: s.db}
	log := s.log.With("part", "xmpp")
	visible := func(owner, contact stanza.JID) bool { return s.roster.Subscribed(owner, contact) }

	s.blocking = ext.AttachBlocking(x, stored, visible, log)              // first: what is blocked reaches no other feature
	s.mam = mam.Attach(x, s.archive, mam.SQLStore{DB: s.db}, mam.Options{ // then: what goes on is on disk
		Refused: s.blocking.Refuses,
		Contact: func(owner, peer stanza.JID) bool { return s.roster.Contact(owner, peer) },
		Waits: func(ctx context.Context, owner stanza.JID, id string) (bool, error) {
			return s.offline.Waits(ctx, owner, id)
		},
		Ledger: s.ledger, Displayed: s.displayed, Rooms: s.roomsOf,
	}, log)
	s.attachRegister()
	s.roster = roster.Attach(x, roster.SQLStore{DB: s.db}, log)
	s.offline = ext.AttachOffline(x, stored, log) // after the roster: presence comes before what was missed
	ext.AttachCarbons(x)
	ext.AttachPing(x)
	s.pings = attachPinger(x)
	ext.AttachVersion(x, "Konzil", version())
	ext.AttachTime(x)
	ext.AttachLast(x, visible)
	s.vcards = ext.AttachVCard(x, stored, log)
	s.private = ext.AttachPrivate(x, stored, log)
	s.takeReports()
	ext.AttachAccess(x, accessStore{s.tokens}, log)
	if s.cfg.HTTP.Port != 0 {
		ext.AttachMeetings(x, func(name string) string { return s.cfg.publicURL() + name })
	}
	ext.AttachServices(x, s.iceServices, nil)
	x.Hooks().Closed(s.endTURN)
	if err = s.attachPubSub(); err != nil {
		return err
	}
	if s.push, err = push.Attach(x, s.db, log); err != nil {
		return err
	}
	disco := ext.AttachDisco(x, ext.DiscoOptions{
		Name: "Konzil", About: s.about(), Visible: visible, NodeInfo: s.pubsub.Info, Nodes: s.pubsub.List,
	})

	disco.Item("pubsub."+domain, "Publish and subscribe")
	if s.cfg.Bridge.Desktop {
		disco.Item(s.cfg.desktopBridge(), "Video bridge")
	}
	if err := s.openRooms(disco); err != nil {
		return err
	}
	if err := s.openSharing(disco); err != nil {
		return err
	}
	s.attachDirectory()
	if s.directory != nil {
		disco.Item("search."+domain, "People")
	}
	if err := s.openComponents(disco); err != nil {
		return err
	}
	if err := s.attachAdmin(); err != nil {
		return err
	}
	ext.AttachCommands(x, disco, log)
	disco.Seal() // last: all features are announced
	return nil
}

// attachPubSub gives accounts nodes, which vcards and private XML are kept in step with.
func (s *server) attachPubSub() (err error) {
	s.pubsub, err = pubsub.Attach(s.xmpp, pubsub.SQLStore{DB: s.db}, pubsub.Options{
		Service:    "pubsub." + s.cfg.Domain,
		Subscribed: s.roster.Subscribed, Groups: s.roster.Groups,
		Watchers: func(owner stanza.JID) []stanza.JID { return s.roster.Peers(owner, roster.From) },
		Watched:  func(owner stanza.JID) []stanza.JID { return s.roster.Peers(owner, roster.To) },
	}, s.log.With("part", "pubsub"))
	if err != nil {
		return err
	}
	s.roster.Granted(s.pubsub.Granted)
	s.private.View(stanza.Name{Space: "storage:bookmarks", Local: "storage"}, s.pubsub.AttachBookmarks(s.private))
	s.avatars = s.pubsub.AttachAvatars(s.vcards)
	cards := s.pubsub.AttachVCard4(s.vcards)
	s.vcards.Changed = func(owner stanza.JID, card *stanza.Element) {
		s.avatars.CardSet(owner, card)
		cards.CardSet(owner, card)
	}
	s.vcards.View = func(owner, asker stanza.JID, card *stanza.Element) *stanza.Element {
		return cards.Card(owner, asker, s.avatars.Card(owner, asker, card))
	}
	return nil
}

// roomsOf are the rooms that somebody belongs to, for the list of conversations.
func (s *server) roomsOf(owner stanza.JID) (out []mam.Room) {
	for _, r := range s.meetings.rooms.Memberships(owner) {
		out = append(out, mam.Room{JID: r.Room, OccupantID: r.OccupantID, Seen: r.Seen})
	}
	return out
}

// displayed are the marks of what somebody has seen (XEP-0490), by conversation.
func (s *server) displayed(owner stanza.JID) map[string]string {
	const node, most = "urn:xmpp:mds:displayed:0", 10_000
	items, err := s.pubsub.Items(owner, node, most)
	if err != nil {
		s.log.Error("displayed marks not read", "owner", owner.String(), "err", err)
	}
	marks := map[string]string{}
	for _, it := range items {
		if el, err := stanza.ParseElement(it.XML); err == nil {
			marks[it.ID] = el.Child("urn:xmpp:sid:0", "stanza-id").Attr("id")
		}
	}
	return marks
}

// focusJID is who sits in every meeting.
func (s *server) focusJID() stanza.JID { return stanza.MustJID("focus@auth." + s.cfg.Domain) }
