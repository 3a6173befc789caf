package peers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"konzil/bench/measure"
)

// domain is that of every XMPP server here, secret the one of TURN credentials.
const (
	domain = "localhost"
	secret = "bench-secret"
)

func konzil() Peer {
	return Peer{Name: "konzil", Serves: "sfu turn xmpp", Get: "go build -o konzil . (in the source tree), or give its path with the option binary",
		Settings: map[string]string{"binary": "path of the program, to compare two builds (default: this one, or built from the source tree)",
			"shards": "media.shards", "log": "log level", "append": "file with more settings, whole top-level sections"},
		Start: startKonzil}
}

// konzilLimits are lifted because bench opens everything from one address and one account where people would come from many.
const konzilLimits = 1_000_000

func startKonzil(ctx context.Context, o Options) (*measure.Target, error) {
	bin, err := konzilBinary(ctx, o)
	if err != nil {
		return nil, err
	}
	host, federation := o.domain(), "{}"
	if o.pair != nil {
		federation = fmt.Sprintf("{mode: open, port: %d, tls_port: 0, allow_private: true, rate_bytes_per_second: 1000000000}", o.pair.port)
	}
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	if err := o.writeCertificate(host, "conference."+host, "guest."+host); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`domain: %s
data: %s
listen: ["127.0.0.1"]
log: {level: %s}
tls: {cert: %s, key: %s}
http: {port: %d}
xmpp: {port: %d, tls_port: %d, guests: true, rate_bytes_per_second: 1000000000, fanout_per_second: 100000000, sessions_per_user: %d, federation: %s}
rooms: {max_rooms: 100000, max_occupants: 100000, create_by_all: true, messages_per_second: %d}
media: {port: %d, shards: %s}
turn: {port: %d, tls_port: %d, secret: %s, users: ["bench:%s"], allow: ["127.0.0.0/8"], allocations_per_user: %d, allocations_per_address: %d}
`, host, o.path("data"), o.setting("log", "warn"), o.path("cert.pem"), o.path("key.pem"), ports[0], ports[1], ports[2], konzilLimits, federation,
		konzilLimits, ports[3], o.setting("shards", "0"), ports[4], ports[5], secret, measure.AccountPassword, konzilLimits, konzilLimits)
	if more := o.setting("append", ""); more != "" {
		b, err := os.ReadFile(more)
		if err != nil {
			return nil, err
		}
		conf += string(b)
	}
	if err := o.write("konzil.yaml", conf); err != nil {
		return nil, err
	}
	if err := konzilAccounts(ctx, o, bin); err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "serve", "-config", o.path("konzil.yaml"))
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	p, err := o.start(ctx, cmd, listeningTLS(at(0)), listeningTLS(at(2)), listeningTLS(at(5)))
	if err != nil {
		return nil, err
	}
	version, _ := output(ctx, bin, "version")
	return &measure.Target{Version: firstLine(version), Config: map[string]string{"konzil.yaml": conf}, Command: strings.Join(cmd.Args, " "),
		Addr:   map[string]string{"ws": "wss://" + at(0) + "/xmpp-websocket", "xmpp": at(1), "xmpps": at(2), "turn": at(4), "turn-tcp": at(4), "turns": at(5)},
		Domain: host, Guest: "guest." + host, Rooms: "conference." + host, Focus: "focus." + host, Secret: secret,
		PIDs: []int{p.pid()}, Stop: p.stop}, nil
}

// konzilAccounts makes the accounts with the server's own command, before it runs.
func konzilAccounts(ctx context.Context, o Options, bin string) error {
	if o.Accounts == 0 {
		return nil
	}
	const iterations = 10_000 // the server's default, and least
	keys := newKeysSHA1(iterations).text("SHA-1") + " " + newKeysSHA256(iterations).text("SHA-256")
	t := measure.Target{Accounts: o.Accounts}
	var b strings.Builder
	for i := range o.Accounts {
		b.WriteString(t.AccountName(i) + " " + keys + "\n")
	}
	cmd := exec.CommandContext(ctx, bin, "user", "-config", o.path("konzil.yaml"), "import")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("accounts: %w: %s", err, out)
	}
	return nil
}

// mainPackage is the import path of the server's program.
const mainPackage = "konzil"

// konzilBinary finds the program: the option, this very program, or a build from the source tree that the working directory is in.
func konzilBinary(ctx context.Context, o Options) (string, error) {
	if b := o.setting("binary", ""); b != "" {
		return filepath.Abs(b)
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Path == mainPackage {
		return os.Executable()
	}
	bin, err := buildKonzil(ctx)
	if err != nil {
		return "", fmt.Errorf("konzil %w, and could not be built: %w", ErrMissing, err)
	}
	return bin, nil
}

// buildKonzil builds the program into the user's cache, at a place that each source tree has of its own: linking takes ten seconds, and go
// leaves a program alone that is up to date.
func buildKonzil(ctx context.Context) (string, error) {
	tree, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", mainPackage)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "konzil-bench", fmt.Sprintf("%x", sha256.Sum256([]byte(tree)))[:16], "konzil")
	if err := os.MkdirAll(filepath.Dir(bin), 0o700); err != nil {
		return "", err
	}
	_, err = output(ctx, "go", "build", "-o", bin, mainPackage)
	return bin, err
}
