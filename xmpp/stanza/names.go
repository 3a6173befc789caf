package stanza

// intern gives the string of b without a copy where it is one that streams are full of.
func intern(b []byte) string {
	if s, ok := known[string(b)]; ok {
		return s
	}
	return string(b)
}

// known is never written after start.
var known = func() map[string]string {
	m := map[string]string{}
	for _, s := range []string{
		NSClient, NSServer, NSStanzas, NSStream, NSStreams, NSXML, nsXMLNS,
		"urn:ietf:params:xml:ns:xmpp-framing", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:ietf:params:xml:ns:xmpp-bind",
		"urn:ietf:params:xml:ns:xmpp-session", "urn:ietf:params:xml:ns:xmpp-tls", "urn:xmpp:sm:3", "urn:xmpp:ping", "jabber:iq:roster",
		"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/caps",
		"http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user", "http://jabber.org/protocol/chatstates",
		"http://jabber.org/protocol/nick", "urn:xmpp:receipts", "urn:xmpp:chat-markers:0", "urn:xmpp:jingle:1", "urn:xmpp:sid:0",
		"vcard-temp:x:update", "jabber:x:data", "urn:xmpp:carbons:2", "urn:xmpp:mam:2", "urn:xmpp:hints", "eu.siacs.conversations.axolotl",
		"http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#event", "urn:xmpp:delay", "http://jitsi.org/jitmeet",
		"message", "presence", "iq", "body", "subject", "thread", "active", "composing", "paused", "gone", "inactive", "show", "status",
		"priority", "c", "x", "nick", "query", "ping", "error", "bind", "resource", "session", "jingle", "request", "received", "stanza-id",
		"origin-id", "item", "id", "to", "from", "type", "lang", "stream", "r", "a", "enable", "resume", "h", "hash", "node", "ver", "jid",
		"markable", "en", "de", "get", "set", "result", "chat", "groupchat", "normal", "headline", "unavailable", "subscribe", "subscribed", "probe",
		"audiomuted", "videomuted", "stats-id", "region", "codecList", "SourceInfo", "jitsi_participant_codecList",
	} {
		m[s] = s
	}
	return m
}()
