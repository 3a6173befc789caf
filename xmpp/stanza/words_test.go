package stanza

import "testing"

func TestHasWords(t *testing.T) {
	for xml, want := range map[string]bool{
		"<body>hi</body>":                                     true,
		"<encrypted xmlns='urn:xmpp:omemo:2'/>":               true,
		"<encrypted xmlns='eu.siacs.conversations.axolotl'/>": true,
		"<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>":     true,
		"<keys xmlns='urn:xmpp:omemo:2'/>":                    false,
		"<body xmlns='urn:other'>hi</body>":                   false,
		"<received xmlns='urn:xmpp:receipts' id='1'/>":        false,
		"": false,
	} {
		st, err := Parse([]byte("<message to='a@b.test'>" + xml + "</message>"))
		if err != nil {
			t.Fatal(err)
		}
		if st.HasWords() != want {
			t.Errorf("%s: %v", xml, !want)
		}
	}
}
