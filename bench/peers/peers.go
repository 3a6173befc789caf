package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"konzil/bench/measure"
)

// Options say how a peer is started.
type Options struct {
	Accounts int               // to make; account i is named AccountName(i)
	CPUs     []int             // that it may use; empty is all
	Settings map[string]string // the peer's own options, see Peer.Settings
	Log      *slog.Logger      // nil discards

	pair *member // it is one of two that exchange messages; nil: it is alone

	// Dir is a folder for this server alone. Start makes it, and removes it when the server stops.
	Dir string
}

// Peer is one kind of server that bench can start.
type Peer struct {
	Name     string
	Serves   string            // for what: sfu, turn, xmpp, separated by blanks
	Get      string            // how to get it when it is not there: a command
	Settings map[string]string // its options and what they do
	Missing  func() error      // why it cannot be started here, nil when it can; a nil func is always there
	Start    func(ctx context.Context, o Options) (*measure.Target, error)
}

// All is every peer, in the order of the reports.
func All() []Peer {
	return []Peer{konzil(), livekit(), janus(), galene(), jvb(), coturn(), prosody(), ejabberd()}
}

// ErrMissing is in errors of peers whose program is not on this machine; the text says how to get it.
var ErrMissing = errors.New("is not on this machine")

// Start starts the peer of that name.
func Start(ctx context.Context, name string, o Options) (*measure.Target, error) {
	all := All()
	i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("peers: no server %q: there are %s", name, strings.Join(names(), ", "))
	}
	p := all[i]
	for _, k := range slices.Sorted(maps.Keys(o.Settings)) {
		if _, ok := p.Settings[k]; !ok {
			return nil, fmt.Errorf("peers: %s has no option %q: there are %s", name, k, strings.Join(slices.Sorted(maps.Keys(p.Settings)), ", "))
		}
	}
	if err := o.prepare(name); err != nil {
		return nil, err
	}
	t, err := p.Start(ctx, o)
	if err != nil {
		if errors.Is(err, ErrMissing) && p.Get != "" {
			err = fmt.Errorf("%w; to get it: %s", err, p.Get)
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), os.RemoveAll(o.Dir))
	}
	t.Name, t.Accounts = name, o.Accounts
	stop := t.Stop
	t.Stop = func() error { return errors.Join(stop(), os.RemoveAll(o.Dir)) }
	return t, nil
}

// prepare makes the folder of a server.
func (o *Options) prepare(name string) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dir, err = os.MkdirTemp("", "bench-"+name+"-"); err == nil {
		err = os.Chmod(o.Dir, 0o755) // servers that change their user must reach their files
	}
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	return nil
}

// names lists all peers.
func names() []string {
	var out []string
	for _, p := range All() {
		out = append(out, p.Name)
	}
	return out
}

// path is a file in the server's folder.
func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }

// write puts a file into the server's folder, making its folder.
func (o *Options) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(o.path(name)), 0o755); err != nil { // see Start
		return err
	}
	return os.WriteFile(o.path(name), []byte(text), 0o644) // see Start
}

// setting is an option of the peer's own, or its default.
func (o *Options) setting(name, otherwise string) string {
	if v, ok := o.Settings[name]; ok {
		return v
	}
	return otherwise
}

// cpus is how many CPUs the server may use.
func (o *Options) cpus() int {
	if len(o.CPUs) > 0 {
		return len(o.CPUs)
	}
	return len(Allowed())
}

// domain is the XMPP domain of a server.
func (o *Options) domain() string {
	if o.pair != nil {
		return o.pair.domain
	}
	return o.setting("domain", domain)
}

// Has tells whether the peer of that name has the option.
func Has(name, option string) bool {
	for _, p := range All() {
		if p.Name == name {
			_, ok := p.Settings[option]
			return ok
		}
	}
	return false
}

// needs is a Peer.Missing that looks for programs.
func needs(programs ...string) func() error {
	return func() error {
		for _, name := range programs {
			if _, err := program(name); err != nil {
				return err
			}
		}
		return nil
	}
}
