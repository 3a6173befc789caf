package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"konzil/internal/proctest"
)

const ejabberdConfig = `hosts: [%[1]q]
certfiles: [%[2]q]
ca_file: %[3]q
s2s_use_starttls: required
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
auth_method: internal
listen:
  - {port: 5222, ip: %[4]q, module: ejabberd_c2s, max_stanza_size: 262144, starttls_required: true}
  - {port: 5269, ip: %[4]q, module: ejabberd_s2s_in, max_stanza_size: 524288}
  - {port: 5443, ip: %[4]q, module: ejabberd_http, tls: true, request_handlers: {/upload: mod_http_upload}}
access_rules:
  local: {allow: all}
  pubsub_createnode: {allow: all}
modules:
  mod_adhoc: {}
  mod_blocking: {}
  mod_caps: {}
  mod_carboncopy: {}
  mod_disco: {}
  mod_http_upload: {host: "upload.%[5]s", put_url: "https://%[5]s:5443/upload", docroot: %[6]q}
  mod_mam: {default: always}
  mod_muc: {host: "conference.%[5]s", access_create: local, default_room_options: {mam: true}}
  mod_offline: {}
  mod_ping: {}
  mod_privacy: {}
  mod_private: {}
  mod_proxy65: {host: "proxy.%[5]s", ip: %[4]q, port: 7777, access: local}
  mod_pubsub: {host: "pubsub.%[5]s", plugins: [flat, pep]}
  mod_roster: {}
  mod_s2s_dialback: {}
  mod_stream_mgmt: {}
  mod_vcard: {search: false}
`

// ejabberd starts Debian's ejabberd for zoneE.
func ejabberd(t *testing.T) {
	t.Helper()
	libs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if _, err := exec.LookPath("erl"); err != nil || len(libs) == 0 {
		t.Skip("the Debian package ejabberd is not installed")
	}
	z, dir := zoneE, t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	pem := ""
	for _, f := range []string{certFile(z), keyFile(z)} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pem += string(b)
	}
	for name, text := range map[string]string{
		"server.pem": pem, "ejabberd.yml": fmt.Sprintf(ejabberdConfig, z.domain, path("server.pem"), lab.ca, z.addr, z.domain, path("upload")),
		"accounts.erl": fmt.Sprintf(`ok = ejabberd_auth:try_register(<<"juliet">>, <<%q>>, <<%q>>).`, z.domain, password("juliet")),
	} {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What ejabberdctl foreground runs, without a node name: so no epmd is started that would stay behind.
	cmd := exec.Command("erl", "+K", "true", "-mnesia", "dir", `"`+path("database")+`"`, "-s", "ejabberd", "-noinput",
		"-eval", fmt.Sprintf(`{ok, _} = file:script(%q), ok = file:write_file(%q, <<"ready">>).`, path("accounts.erl"), path("ready")))
	cmd.Env = append(os.Environ(), "EJABBERD_CONFIG_PATH="+path("ejabberd.yml"), "EJABBERD_LOG_PATH="+path("ejabberd.log"),
		"ERL_LIBS="+filepath.Dir(filepath.Dir(libs[len(libs)-1])), "ERL_CRASH_DUMP_BYTES=0", "HOME="+dir)
	if err := os.Mkdir(path("database"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &proctest.Process{Name: "ejabberd"}
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if b, err := os.ReadFile(path("ejabberd.log")); err == nil && t.Failed() {
			t.Logf("ejabberd:\n%s%s", b, p.Log.String())
		}
	})
	if !eventually(t, patience, "ejabberd has started", func() bool { _, err := os.Stat(path("ready")); return err == nil }) {
		t.FailNow()
	}
	if err := p.Listening(z.addr+":5222", z.addr+":5269"); err != nil {
		t.Fatal(err)
	}
}

// TestEjabberd is TestProsody with Debian's ejabberd.
func TestEjabberd(t *testing.T) {
	needLab(t)
	ejabberd(t)
	newKonzil(t, zoneK, []string{"romeo"}, "")
	wantSteps(t, script(t, "federate.py", zoneK.addr, zoneK.domain, zoneE.addr, zoneE.domain, lab.ca, "all"), steps(zoneE.domain)...)
}
