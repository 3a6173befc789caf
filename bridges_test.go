package main

import (
	"encoding/json"
	"testing"
	"time"
)

// TestBridgeREST drives a bridge alone by HTTP, as a focus without XMPP does, and takes it out of use.
func TestBridgeREST(t *testing.T) {
	h := startHouse(t, settings(t, "bridge: {rest: admin, region: lab}\n"), "bridge")
	ask := func(want int, method, path, body string) map[string]any {
		t.Helper()
		code, b := h.http(method, path, body, "Content-Type", "application/json")
		if code != want {
			t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, code, b, want)
		}
		var o map[string]any
		_ = json.Unmarshal([]byte(b), &o) // not all answers have a body
		return o
	}
	const all = "/colibri/v2/conferences"
	const endpoint = `{"id":"ab12cd34","create":true,"capabilities":["source-names"],"transport":{"ice-controlling":true,"sctp":{}},"medias":[{"type":"audio","payload-types":[{"id":111,"name":"opus","clockrate":48000,"channels":2}]}]}`
	made := ask(200, "POST", all, `{"meeting-id":"m","create":true,"endpoints":[`+endpoint+`]}`)
	tr := made["endpoints"].([]any)[0].(map[string]any)["transport"].(map[string]any)["transport"].(map[string]any)
	if tr["ufrag"] == "" || len(tr["candidates"].([]any)) == 0 || len(tr["fingerprints"].([]any)) != 1 || len(made["sources"].([]any)) != 2 {
		t.Errorf("made %v", made)
	}
	ask(400, "POST", all, `{"meeting-id":"m","create":true}`)
	ask(200, "PATCH", all+"/m", `{"endpoints":[{"id":"ab12cd34","sources":[{"type":"audio","id":"ab12cd34-a0","sources":[{"ssrc":4711,"name":"ab12cd34-a0"}]}]}]}`)
	ask(404, "PATCH", all+"/none", `{}`)
	if s := ask(200, "GET", all+"/m/dominant-speaker-identification", ""); len(s["endpointsInLastNOrder"].([]any)) != 1 {
		t.Errorf("speakers %v", s)
	}
	ask(200, "GET", "/about/health", "")
	if v := ask(200, "GET", "/about/version", ""); v["name"] != "Konzil" {
		t.Errorf("version %v", v)
	}
	ask(200, "POST", "/colibri/drain/enable", "")
	if s := ask(200, "GET", "/colibri/stats", ""); s["drain"] != true || s["conferences"] != 1.0 || s["endpoints"] != 1.0 || s["region"] != "lab" {
		t.Errorf("stats %v", s)
	}
	ask(400, "POST", "/colibri/shutdown", `{}`)
	ask(200, "POST", "/colibri/shutdown", `{"graceful-shutdown":true}`)
	ask(503, "POST", all, `{"meeting-id":"n","create":true}`)
	ask(200, "PATCH", all+"/m", `{"expire":true}`)
	select {
	case n := <-h.exit: // the last conference is over
		h.exit <- n
		if n != 0 {
			t.Errorf("exit %d: %s", n, h.errOut)
		}
	case <-time.After(patience):
		t.Fatal("it does not end after the last conference")
	}
}

// TestRESTIsClosed: nobody from outside drives the bridge unless the operator says so, and then with the token alone.
func TestRESTIsClosed(t *testing.T) {
	const all = "/colibri/v2/conferences"
	h := openHouse(t, "")
	if code, b := h.http("POST", all, `{"meeting-id":"m","create":true}`, "Content-Type", "application/json"); code != 404 {
		t.Errorf("by default: %d %s", code, b)
	}
	h = openHouse(t, "bridge: {rest: token, rest_token: 0123456789abcdef}\n")
	for token, want := range map[string]int{"": 401, "x": 401, "0123456789abcdef": 200} {
		if code, b := h.http("POST", all, `{"meeting-id":"m`+token+`","create":true}`, "Content-Type", "application/json", "Authorization", "Bearer "+token); code != want {
			t.Errorf("%q: %d %s, want %d", token, code, b, want)
		}
	}
}
