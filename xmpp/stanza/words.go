package stanza

// Encrypted tells children of a message that carry words encrypted end to end: OMEMO (XEP-0384, both versions), OpenPGP (XEP-0373, XEP-0027) and stanza
// content encryption (XEP-0420).
func (n Name) Encrypted() bool {
	switch n.Space {
	case "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2":
		return n.Local == "encrypted"
	case "urn:xmpp:openpgp:0", "jabber:x:encrypted", "urn:xmpp:sce:1":
		return true
	}
	return false
}

// HasWords tells a message that somebody has to read; receipts, markers and the like have none.
func (s *Stanza) HasWords() bool {
	for _, n := range s.Names {
		if n.Encrypted() || n == (Name{Space: NSClient, Local: "body"}) {
			return true
		}
	}
	return false
}
