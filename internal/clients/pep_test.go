package clients

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSlixmppPEP: one publishes an avatar and the other, who sees the presence, is told (XEP-0163, XEP-0084); a device list of OMEMO that everybody may
// read (XEP-0384); bookmarks that nobody else may (XEP-0402).
func TestSlixmppPEP(t *testing.T) {
	needSlixmpp(t)
	ao, bo := options("alice"), options("bob")
	ao.PEP, bo.PEP = true, true
	alice, bob := online(t, ao), online(t, bo)
	bob.do(map[string]any{"cmd": "presence", "to": "alice@" + domain, "type": "subscribe"})
	alice.any("be asked", func(e event) bool { return e.Event == "presence" && e.Type == "subscribe" && e.Sender == "bob@"+domain })
	alice.do(map[string]any{"cmd": "presence", "to": "bob@" + domain, "type": "subscribed"})
	bob.any("see alice", func(e event) bool {
		return e.Event == "presence" && e.Type == "available" && strings.HasPrefix(e.Sender, "alice@")
	})
	var id string
	if err := json.Unmarshal(alice.do(map[string]any{"cmd": "avatar", "data": "not really a picture"}), &id); err != nil || id == "" {
		t.Fatal(id, err)
	}
	bob.any("be told of the avatar", func(e event) bool { return e.Event == "avatar" && e.Sender == "alice@"+domain && e.ID == id })

	const devices = "eu.siacs.conversations.axolotl.devicelist"
	alice.do(map[string]any{"cmd": "publish", "node": devices, "item": "current", "xml": "<list xmlns='eu.siacs.conversations.axolotl'><device id='7'/></list>",
		"options": map[string]string{"access_model": "open", "persist_items": "true"}})
	fetch := func(c *chat, node string) map[string]string {
		t.Helper()
		items := map[string]string{}
		if err := json.Unmarshal(c.do(map[string]any{"cmd": "fetch", "to": "alice@" + domain, "node": node}), &items); err != nil {
			t.Fatal(err)
		}
		return items
	}
	if items := fetch(bob, devices); !strings.Contains(items["current"], "7") {
		t.Errorf("device list: %v", items)
	}
	alice.do(map[string]any{"cmd": "publish", "node": "urn:xmpp:bookmarks:1", "item": "cave@rooms." + domain, "xml": "<conference xmlns='urn:xmpp:bookmarks:1' autojoin='true'/>",
		"options": map[string]string{"access_model": "whitelist", "persist_items": "true", "max_items": "max", "send_last_published_item": "never"}})
	if items := fetch(alice, "urn:xmpp:bookmarks:1"); len(items) != 1 {
		t.Errorf("bookmarks: %v", items)
	}
	n := bob.start(map[string]any{"cmd": "fetch", "to": "alice@" + domain, "node": "urn:xmpp:bookmarks:1"})
	if e := bob.any("be refused", func(e event) bool { return e.N == n }); e.Event != "failed" || e.Condition != "not-allowed" {
		t.Errorf("bob asks for alice's bookmarks: %+v", e)
	}
}
