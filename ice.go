package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"konzil/internal/oops"
	"konzil/internal/random"
	"konzil/sfu"
	"konzil/turn"
	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/metadata"
	"konzil/xmpp/stanza"
)

// credentialLife is how long TURN credentials are good. Jitsi clients ask once and meet all day.
const credentialLife = 24 * time.Hour

// openTURN starts the TURN server with the SFU as its peer in memory.
func (s *server) openTURN(context.Context) error {
	t := s.cfg.TURN
	if t.Port == 0 {
		return nil
	}
	c := turn.DefaultConfig()
	c.UDP = s.present(s.cfg.addrs(t.Port))
	c.TCP, c.Realm = c.UDP, s.cfg.Domain
	c.PortMin, c.PortMax = uint16(t.RelayMin), uint16(t.RelayMax)
	c.PerUser, c.PerAddress, c.Bandwidth = t.PerUser, t.PerSource, t.Bandwidth
	c.MaxLifetime = t.Lifetime
	c.Users = map[string]string{}
	for _, u := range t.Users {
		name, password, _ := strings.Cut(u, ":")
		c.Users[name] = password
	}
	for _, p := range t.Allow {
		c.Allow = append(c.Allow, netip.MustParsePrefix(p))
	}
	for _, p := range t.Deny {
		c.Deny = append(c.Deny, netip.MustParsePrefix(p))
	}
	var err error
	if c.Secret, err = s.turnSecret(); err != nil {
		return err
	}
	s.turnKey = []byte("user names " + c.Secret)
	if s.turn, err = turn.New(c, sfuPeer{s.sfu}, s.log.With("part", "turn")); err != nil {
		var l *turn.ListenError
		if errors.As(err, &l) {
			return oops.Listen("turn", l.Network+" "+l.Addr.String(), "turn.port", l.Err)
		}
		return err
	}
	s.onStop(func(context.Context) { s.turn.Close() })
	if t.OnMedia {
		if err := s.turn.ServeMedia(s.sfu.Addrs(), s.hostTURN); err != nil {
			return err
		}
	}
	return s.listenTURN()
}

// hostTURN lets the TURN server share the sockets of media.
func (s *server) hostTURN(take func(local, from netip.AddrPort, pkt []byte)) func(local, to netip.AddrPort, pkt []byte) error {
	return s.sfu.Host(take)
}

// listenTURN opens TURN over TLS.
func (s *server) listenTURN() error {
	if s.cfg.TURN.TLSPort == 0 {
		return nil
	}
	for _, a := range s.present(s.cfg.addrs(s.cfg.TURN.TLSPort)) {
		network := "tcp6"
		if a.Addr().Unmap().Is4() {
			network = "tcp4"
		}
		l, err := net.Listen(network, a.String())
		if err != nil {
			return oops.Listen("turn", "TLS "+a.String(), "turn.tls_port", err)
		}
		t := s.certs.Config().Clone()
		t.NextProtos = []string{"stun.turn"} // RFC 7443; clients that ask for nothing are served too
		if err := s.turn.ServeTLS(l, t); err != nil {
			return err
		}
	}
	return nil
}

// turnSecret is the configured secret, or one made once, so that credentials outlive a restart.
func (s *server) turnSecret() (string, error) {
	if s.cfg.TURN.Secret != "" {
		return s.cfg.TURN.Secret, nil
	}
	return s.keptSecret("turn-secret")
}

// keptSecret is 256 random bits in hex that are made once and kept in the data folder.
func (s *server) keptSecret(file string) (string, error) {
	name := s.cfg.file(file)
	b, err := os.ReadFile(name)
	if err == nil && len(strings.TrimSpace(string(b))) >= 32 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", oops.File(file, name, "let this user read it, or remove it for a new one", err)
	}
	secret := random.Hex(32)
	return secret, oops.File(file, name, "let this user write it", os.WriteFile(name, []byte(secret+"\n"), 0o600))
}

// sfuPeer is the SFU as the TURN server sees it: a peer that needs no socket, at the addresses it has bound and at those advertised.
type sfuPeer struct{ *sfu.SFU }

// Attach implements turn.InMemoryPeer.
func (p sfuPeer) Attach(relay netip.AddrPort, deliver func(netip.AddrPort, [][]byte)) (func(netip.AddrPort, [][]byte), func()) {
	return p.AttachRelay(relay, deliver)
}

// iceServices are the STUN and TURN servers for a session (XEP-0215), with credentials of its own.
func (s *server) iceServices(session *xmpp.Session) []ext.Service {
	return s.services(session.JID())
}

// turnUser is who a session is to the TURN server: a user of its own, which says nothing to those who see it pass by, as USERNAME is not encrypted. What
// stands before the slash is the same for all sessions of an account.
func (s *server) turnUser(session stanza.JID) string {
	part := func(text string) string {
		m := hmac.New(sha256.New, s.turnKey)
		m.Write([]byte(text))
		return hex.EncodeToString(m.Sum(nil)[:12])
	}
	return part(session.Bare().String()) + "/" + part(session.String())
}

// endTURN takes its TURN credentials from a session that has ended.
func (s *server) endTURN(session *xmpp.Session) {
	if s.turn != nil {
		s.turn.Revoke(s.turnUser(session.JID()))
	}
}

func (s *server) services(who stanza.JID) []ext.Service {
	if s.turn == nil {
		return nil
	}
	host, port := cmp.Or(s.cfg.TURN.Host, s.cfg.host()), s.cfg.TURN.Port
	user, password, expires := s.turn.Credentials(s.turnUser(who), credentialLife)
	udp := port
	if s.cfg.TURN.OnMedia {
		udp = s.cfg.Media.Port
	}
	out := []ext.Service{{Type: "stun", Host: host, Port: udp, Transport: "udp"},
		{Type: "turn", Host: host, Port: udp, Transport: "udp", Username: user, Password: password, Expires: expires},
		{Type: "turn", Host: host, Port: port, Transport: "tcp", Username: user, Password: password, Expires: expires}}
	// One more and browsers complain of too many. The HTTPS port is the one that is open where others are not.
	tlsPort := s.turnHTTPS()
	if tlsPort == 0 {
		tlsPort = s.cfg.TURN.TLSPort
	}
	if tlsPort != 0 {
		out = append(out, ext.Service{Type: "turns", Host: host, Port: tlsPort, Transport: "tcp", Username: user, Password: password, Expires: expires})
	}
	return out
}

// turnHTTPS is the HTTPS port when it takes TURN, else 0.
func (s *server) turnHTTPS() int {
	if s.turn == nil || !s.cfg.TURN.HTTPS {
		return 0
	}
	return s.cfg.HTTP.Port
}

// metadataServices are the same for clients that read them from the room's metadata, where all values are strings.
func (s *server) metadataServices(real stanza.JID) []metadata.Service {
	var out []metadata.Service
	for _, e := range s.services(real) {
		m := metadata.Service{Type: e.Type, Host: e.Host, Port: strconv.Itoa(e.Port), Transport: e.Transport, Username: e.Username, Password: e.Password}
		if e.Username != "" {
			m.Expires, m.Restricted = e.Expires.UTC().Format(time.RFC3339), "1"
		}
		out = append(out, m)
	}
	return out
}

// drainTURN lets the TURN server take no more allocations, or take them again, and tells how many there are: an operator asks until there are none.
func (s *server) drainTURN(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.turn.Drain(on)
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]uint64{"allocations_now": s.turn.Counters()["allocations_now"]}); err != nil {
			s.log.Debug("answer not sent", "err", err)
		}
	}
}
