package peers

import (
	"context"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

func prosody() Peer {
	return Peer{Name: "prosody", Serves: "xmpp", Missing: needs("prosody", "prosodyctl"), Get: "apt-get install prosody", Settings: map[string]string{"mam": "on: archive messages (mod_mam, muc_mam)",
		"domain": "XMPP domain instead of localhost", "storage": "internal (the default) or memory"}, Start: startProsody}
}

// prosodyModules are those that Debian's configuration enables, less limits (they slow a client down on purpose), admin and invites.
var prosodyModules = []string{"disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "pep", "private", "smacks", "vcard4", "vcard_legacy",
	"csi_simple", "ping", "register", "time", "uptime", "version", "posix", "websocket"}

// prosodyConfig gets: domain, data folder, modules, storage, plain port, TLS port, HTTPS port, certificate, key, room modules, block lists kept in memory,
// streams of servers.
const prosodyConfig = `run_as_root = true
daemonize = false
use_libevent = false
network_backend = "epoll"
pidfile = "%[2]s/prosody.pid"
data_path = "%[2]s"
plugin_paths = {}
modules_enabled = { %[3]s }
%[12]s
allow_registration = false
authentication = "internal_hashed"
storage = "%[4]s"
log = { warn = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { %[5]d }
c2s_direct_tls_ports = { %[6]d }
http_ports = {}
https_ports = { %[7]d }
https_interfaces = { "127.0.0.1" }
c2s_require_encryption = true
c2s_tcp_backlog = 1024
blocklist_cache_size = %[11]d
consider_websocket_secure = true
archive_expires_after = "1w"
ssl = { certificate = "%[8]s", key = "%[9]s" }
https_certificate = "%[8]s"
https_key = "%[9]s"
VirtualHost "%[1]s"
Component "conference.%[1]s" "muc"
	%[10]s
`

// prosodyBlocklists is mod_blocklist's own default. With more people online than that, a room that writes to all in turn makes it open a file for each
// stanza; as many as there are accounts saves a sixth of its time in a room of 300.
const prosodyBlocklists = 64

func startProsody(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := program("prosody")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	host := o.domain()
	if err := o.writeCertificate(host, "conference."+host); err != nil {
		return nil, err
	}
	modules, rooms := prosodyModules, ""
	if o.setting("mam", "off") == "on" {
		modules = append(modules[:len(modules):len(modules)], "mam")
		rooms = `modules_enabled = { "muc_mam" }`
	}
	federation := `modules_disabled = { "s2s" }`
	if o.pair != nil {
		modules = append(modules[:len(modules):len(modules)], "dialback")
		federation = fmt.Sprintf("s2s_ports = { %d }\ns2s_require_encryption = true\ns2s_secure_auth = false", o.pair.port)
	}
	conf := fmt.Sprintf(prosodyConfig, host, o.path("data"), `"`+strings.Join(modules, `"; "`)+`"`, o.setting("storage", "internal"), ports[0], ports[1], ports[2],
		o.path("cert.pem"), o.path("key.pem"), rooms, max(prosodyBlocklists, o.Accounts), federation)
	for name, text := range map[string]string{"prosody.cfg.lua": conf, "data/README": "made by konzil bench\n"} {
		if err := o.write(name, text); err != nil {
			return nil, err
		}
	}
	if err := prosodyAccounts(o, host); err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "-F", "--config", o.path("prosody.cfg.lua"))
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	p, err := o.start(ctx, cmd, listeningTLS(at(1)), listeningTLS(at(2)))
	if err != nil {
		return nil, err
	}
	return &measure.Target{Version: prosodyVersion(ctx), Config: map[string]string{"prosody.cfg.lua": conf}, Command: strings.Join(cmd.Args, " "),
		Addr:   map[string]string{"ws": "wss://" + at(2) + "/xmpp-websocket", "xmpp": at(0), "xmpps": at(1)},
		Domain: host, Rooms: "conference." + host, PIDs: []int{p.pid()}, Stop: p.stop}, nil
}

// prosodyIterations is the server's own default.
const prosodyIterations = 10_000

// prosodyAccounts writes the account files as mod_auth_internal_hashed does; prosodyctl takes 0.1 s for each.
func prosodyAccounts(o Options, host string) error {
	k := newKeysSHA1(prosodyIterations)
	text := fmt.Sprintf("return {\n\t[\"iteration_count\"] = %d;\n\t[\"salt\"] = \"%s\";\n\t[\"stored_key\"] = \"%s\";\n\t[\"server_key\"] = \"%s\";\n};\n",
		k.iterations, k.salt, hex.EncodeToString(k.stored), hex.EncodeToString(k.server))
	folder := "data/" + strings.ReplaceAll(host, ".", "%2e") + "/accounts/" // util.datamanager escapes all but letters and digits
	t := measure.Target{Accounts: o.Accounts}
	for i := range o.Accounts {
		if err := o.write(folder+t.AccountName(i)+".dat", text); err != nil {
			return err
		}
	}
	return nil
}

// prosodyVersion asks prosodyctl; some of its lines vary with the machine, so only those that name versions are kept.
func prosodyVersion(ctx context.Context) string {
	out, err := output(ctx, "prosodyctl", "about")
	if err != nil {
		return "unknown"
	}
	v := firstLine(out)
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "Lua version:"); ok {
			v += ", " + strings.Join(strings.Fields(rest), " ")
		}
	}
	return v
}
