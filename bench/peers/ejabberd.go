package peers

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

func ejabberd() Peer {
	return Peer{Name: "ejabberd", Serves: "xmpp", Missing: needs("ejabberdctl", "erl"), Get: "apt-get install ejabberd", Settings: map[string]string{"mam": "on: archive messages (mod_mam)",
		"domain": "XMPP domain instead of localhost"}, Start: startEjabberd}
}

// ejabberdConfig gets: domain, certificate, plain port, TLS port, HTTPS port, further modules and settings, whether rooms are archived, the listener for servers. It is Debian's, less shapers, services that have nothing to do
// with chat (STUN, MQTT, web admin) and s2s; the backlog is raised because with 5 connections sixteen logins at a time meet retransmitted SYNs.
const ejabberdConfig = `loglevel: warning
hosts: ["%[1]s"]
certfiles: ["%[2]s"]
auth_method: internal
auth_password_format: scram
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
listen:
  - {port: %[3]d, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, access: c2s, starttls_required: true, backlog: 1024, protocol_options: [no_sslv3, no_tlsv1, no_tlsv1_1, cipher_server_preference, no_compression]}
  - {port: %[4]d, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, access: c2s, tls: true, backlog: 1024, protocol_options: [no_sslv3, no_tlsv1, no_tlsv1_1, cipher_server_preference, no_compression]}
%[8]s  - {port: %[5]d, ip: "127.0.0.1", module: ejabberd_http, tls: true, backlog: 1024, request_handlers: {/xmpp-websocket: ejabberd_http_ws}}
access_rules:
  c2s: {allow: all}
  muc_create: {allow: all}
shaper_rules:
  max_user_sessions: 1000000
  max_user_offline_messages: 100
modules:
  mod_adhoc: {}
  mod_avatar: {}
  mod_blocking: {}
  mod_caps: {}
  mod_carboncopy: {}
  mod_client_state: {}
  mod_disco: {}
  mod_last: {}
  mod_muc: {host: "conference.%[1]s", access_create: muc_create, max_users: 5000, max_users_admin_threshold: 5000, max_user_conferences: 1000, min_message_interval: 0, default_room_options: {max_users: 5000, mam: %[7]t}}
  mod_offline: {access_max_user_messages: max_user_offline_messages}
  mod_ping: {}
  mod_privacy: {}
  mod_private: {}
  mod_pubsub: {plugins: [flat, pep]}
  mod_push: {}
  mod_roster: {versioning: true}
  mod_stream_mgmt: {resend_on_timeout: if_offline}
  mod_vcard: {search: false}
  mod_vcard_xupdate: {}
  mod_version: {}
%[6]s`

func startEjabberd(ctx context.Context, o Options) (*measure.Target, error) {
	if _, err := program("ejabberdctl"); err != nil {
		return nil, err
	}
	erl, err := program("erl")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	host := o.domain()
	cert, key, err := certificate(host, "conference."+host)
	if err != nil {
		return nil, err
	}
	more, archives := "", o.setting("mam", "off") == "on"
	if archives {
		more = "  mod_mam: {default: always}\n"
	}
	federation := ""
	if o.pair != nil {
		federation = fmt.Sprintf("  - {port: %d, ip: \"127.0.0.1\", module: ejabberd_s2s_in, max_stanza_size: 524288, backlog: 1024}\n", o.pair.port)
		more += "  mod_s2s_dialback: {}\ns2s_use_starttls: required\n"
	}
	conf := fmt.Sprintf(ejabberdConfig, host, o.path("server.pem"), ports[0], ports[1], ports[2], more, archives, federation)
	for name, text := range map[string]string{"ejabberd.yml": conf, "server.pem": cert + key, "database/README": "made by konzil bench\n", "accounts.erl": ejabberdAccounts(o, host)} {
		if err := o.write(name, text); err != nil {
			return nil, err
		}
	}
	// The command line of ejabberdctl foreground, without a node name: so no epmd is started that would stay behind.
	cmd := exec.Command(erl, "+K", "true", "+P", "250000", "-mnesia", "dir", `"`+o.path("database")+`"`, "-s", "ejabberd", "-noinput",
		"-eval", fmt.Sprintf(`{ok, _} = file:script("%s"), ok = file:write_file("%s", <<"ready">>).`, o.path("accounts.erl"), o.path("ready")))
	cmd.Env = append(os.Environ(), "EJABBERD_CONFIG_PATH="+o.path("ejabberd.yml"), "EJABBERD_LOG_PATH="+o.path("ejabberd.log"), "ERL_MAX_PORTS=32000",
		"ERL_LIBS="+ejabberdLibs(), "ERL_CRASH_DUMP_BYTES=0", "HOME="+o.Dir)
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	started := func() error {
		if _, err := os.Stat(o.path("ready")); err != nil {
			return errors.New("not started yet")
		}
		return nil
	}
	p, err := o.start(ctx, cmd, started, listeningTLS(at(1)), listeningTLS(at(2)))
	if err != nil {
		return nil, err
	}
	return &measure.Target{Version: ejabberdVersion(), Config: map[string]string{"ejabberd.yml": conf}, Command: strings.Join(cmd.Args, " "),
		Addr:   map[string]string{"ws": "wss://" + at(2) + "/xmpp-websocket", "xmpp": at(0), "xmpps": at(1)},
		Domain: host, Rooms: "conference." + host, PIDs: []int{p.pid()}, Stop: p.stop}, nil
}

// ejabberdIterations is the server's own default.
const ejabberdIterations = 4096

// ejabberdAccounts is a script that writes the table of ejabberd_auth_mnesia: #passwd{us, password = #scram{}}. Its HTTP API takes
// milliseconds for each.
func ejabberdAccounts(o Options, host string) string {
	k := newKeysSHA1(ejabberdIterations)
	b := base64.StdEncoding.EncodeToString
	t := measure.Target{Accounts: o.Accounts}
	var names bytes.Buffer
	for i := range o.Accounts {
		if i > 0 {
			names.WriteString(",\n")
		}
		fmt.Fprintf(&names, "<<\"%s\">>", t.AccountName(i))
	}
	return fmt.Sprintf(`Scram = {scram, <<"%s">>, <<"%s">>, <<"%s">>, sha, %d},
lists:foreach(fun(N) -> ok = mnesia:dirty_write(passwd, {passwd, {N, <<"%s">>}, Scram}) end, [%s]).
`, b(k.stored), b(k.server), b(k.salt), k.iterations, host, names.String())
}

// ejabberdLibs is the folder that holds Debian's Erlang libraries of ejabberd.
func ejabberdLibs() string {
	dirs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if len(dirs) == 0 {
		return "/usr/lib"
	}
	return filepath.Dir(filepath.Dir(dirs[len(dirs)-1]))
}

func ejabberdVersion() string {
	dirs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if len(dirs) == 0 {
		return "unknown"
	}
	v := strings.TrimPrefix(filepath.Base(filepath.Dir(dirs[len(dirs)-1])), "ejabberd-")
	if rel, _ := filepath.Glob("/usr/lib/erlang/releases/*/OTP_VERSION"); len(rel) > 0 {
		if b, err := os.ReadFile(rel[len(rel)-1]); err == nil {
			v += " on OTP " + strings.TrimSpace(string(b))
		}
	}
	return "ejabberd " + v
}
