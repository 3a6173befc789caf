package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"konzil/internal/auth"
	"konzil/internal/certs"
	"konzil/internal/conf"
	"konzil/internal/token"
	"konzil/internal/webhook"
	"konzil/xmpp/s2s"
	"konzil/xmpp/stanza"
)

// Config is the whole configuration. Its tags are the documentation: `konzil config` prints them, docs/config.md is
// made of them. Every value has a default that works, so that no file is needed.
type Config struct {
	Domain   string   `yaml:"domain" doc:"The domain of the service: people are user@domain. conference., focus., auth., guest., anonymous., metadata., pubsub., upload. and proxy. before it are ours as well."`
	Host     string   `yaml:"host" doc:"Name of this machine in DNS, to which the records that konzil check prints lead, and where clients find pages, files, TURN and the file proxy unless other settings say so; the certificate has to name it, too. Empty: the domain."`
	Data     string   `yaml:"data" doc:"Folder of the database, certificate and accounts; made with mode 0700."`
	Resolver string   `yaml:"resolver" doc:"DNS server to ask, as address:port. Empty: the system's."`
	Listen   []string `yaml:"listen" doc:"IP addresses that all services listen on. [\"0.0.0.0\", \"::\"] is every interface."`

	Log       LogConfig       `yaml:"log" doc:"What is logged, and where."`
	TLS       TLSConfig       `yaml:"tls" doc:"The TLS certificate of all services. Without one a self-signed one is made once."`
	HTTP      HTTPConfig      `yaml:"http" doc:"The meeting page, XMPP over WebSocket, health and metrics."`
	XMPP      XMPPConfig      `yaml:"xmpp" doc:"Messaging."`
	Retention RetentionConfig `yaml:"retention" doc:"How long archived messages are kept."`
	Rooms     RoomsConfig     `yaml:"rooms" doc:"Chat and meeting rooms (XEP-0045)."`
	About     AboutConfig     `yaml:"about" doc:"What everybody is told of the service."`
	Upload    UploadConfig    `yaml:"upload" doc:"Files that people share by their URL (XEP-0363). They are in the data folder."`
	Proxy     ProxyConfig     `yaml:"proxy" doc:"The SOCKS5 proxy for files between clients that cannot reach each other (XEP-0065)."`
	Meetings  MeetingsConfig  `yaml:"meetings" doc:"The focus: who meets, and how."`
	Bridge    BridgeConfig    `yaml:"bridge" doc:"The bridge, for focuses elsewhere."`
	Media     MediaConfig     `yaml:"media" doc:"The SFU: forwarding of audio and video."`
	TURN      TURNConfig      `yaml:"turn" doc:"The embedded TURN server (RFC 8656)."`
	Services  ServicesConfig  `yaml:"services" doc:"Recorders, telephone gateways and bridges that run elsewhere."`
	Tokens    token.Config    `yaml:"tokens" doc:"JSON web tokens, by which a web site says who comes to a meeting. With them only people with a token or an account begin meetings."`
	API       token.Config    `yaml:"api" doc:"JSON web tokens of integrations that ask about meetings, end them, put people out and write to them; the room claim is not asked for. Without them that works at http.admin alone."`
	Webhook   webhook.Config  `yaml:"webhook" doc:"An operator's web server that is told of meetings."`
	Auth      auth.Config     `yaml:"auth" doc:"Accounts: local ones, and those of a directory."`
}

// LogConfig chooses what is logged.
type LogConfig struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error."`
	Format string `yaml:"format" doc:"text or json."`
	File   string `yaml:"file" doc:"File to log to; those of earlier days have their date behind the name. Empty: standard error, where addresses are shortened at once (192.0.2.x, 2001:db8::x)."`

	MaskAfter time.Duration `yaml:"mask_after" doc:"How long addresses in that file stay whole before they are shortened, such as 7d; 1m at least. 0: they never are whole."`
	Keep      time.Duration `yaml:"keep" doc:"How long a day's file is kept; 0 is for ever."`
}

// TLSConfig names the certificate files.
type TLSConfig struct {
	Cert string `yaml:"cert" doc:"PEM file with the certificate chain; read again when it changes. Empty: self-signed."`
	Key  string `yaml:"key" doc:"PEM file with the private key."`

	ACME certs.ACMEConfig `yaml:"acme" doc:"A certificate from an authority such as Let's Encrypt, renewed by itself; in place of the files."`
}

// HTTPConfig is the HTTPS server.
type HTTPConfig struct {
	Port       int      `yaml:"port" doc:"HTTPS port; 0 is off."`
	PublicURL  string   `yaml:"public_url" doc:"How people reach the page when it is not https://host:port/ (behind a proxy). Empty: made of host and port."`
	Site       string   `yaml:"site" doc:"Folder of a jitsi-meet build (index.html, libs, css, ...), which is served in place of the built-in page. Empty: the built-in page."`
	SiteConfig string   `yaml:"site_config" doc:"File with JavaScript that is appended to that build's config.js, such as config.startWithAudioMuted = true; Empty: none."`
	Admin      []string `yaml:"admin" doc:"Addresses with ports, such as 127.0.0.1:9090, where health and metrics answer in plain HTTP, for a monitoring system. Empty: they answer on the HTTPS port, and only to this machine itself."`
}

// XMPPConfig is the XMPP server.
type XMPPConfig struct {
	Port            int           `yaml:"port" doc:"Client connections with STARTTLS (RFC 6120); 0 is off."`
	TLSPort         int           `yaml:"tls_port" doc:"Client connections with direct TLS (XEP-0368); 0 is off."`
	Guests          bool          `yaml:"guests" doc:"Let people without an account join meetings: SASL ANONYMOUS on guest.domain, and over WebSocket on the domain itself."`
	MaxStanzaBytes  int           `yaml:"max_stanza_bytes" doc:"Largest stanza after login, bytes. Before login it is 10000."`
	RateBytesPerSec int           `yaml:"rate_bytes_per_second" doc:"How fast one connection may send, bytes a second; a faster one is read more slowly."`
	FanoutPerSecond int           `yaml:"fanout_per_second" doc:"How many stanzas a second one client may cause for others with its presence and what it publishes, and ten times as many at once; one that causes more is read more slowly."`
	ResumeTime      time.Duration `yaml:"resume_time" doc:"How long a broken session waits for its client (XEP-0198)."`
	SessionsPerUser int           `yaml:"sessions_per_user" doc:"Connections of one account at a time."`

	ClientCA string   `yaml:"client_ca" doc:"PEM file with authorities whose certificates people may log in with (SASL EXTERNAL): for their XMPP address, or a mail address that is a login. Empty: certificates are not asked for."`
	Admins   []string `yaml:"admins" doc:"Addresses of people who may administer the server with their client (XEP-0133): accounts, sessions, words to all, stopping it."`

	Invitations InvitationsConfig `yaml:"invitations" doc:"Invitations to a contact or an account (XEP-0401); the operator makes them by konzil user invite in any case."`
	Federation  FederationConfig  `yaml:"federation" doc:"Other XMPP servers of the world."`
	Components  ComponentsConfig  `yaml:"components" doc:"Programs of their own that serve domains, such as gateways to other networks (XEP-0114)."`
}

// InvitationsConfig is who may invite.
type InvitationsConfig struct {
	Users    bool          `yaml:"users" doc:"People with an account may make a link by which others become their contacts."`
	Accounts bool          `yaml:"accounts" doc:"Such a link also makes an account here for who has none."`
	Life     time.Duration `yaml:"life" doc:"How long an invitation can be used."`
	Identity string        `yaml:"identity_url" doc:"Where people of the directory manage their account and password; clients show it."`
}

// RoomsConfig is the MUC service.
type RoomsConfig struct {
	History      int  `yaml:"history" doc:"Messages that a newcomer gets, per room; 0 keeps none."`
	MaxRooms     int  `yaml:"max_rooms" doc:"Rooms at a time."`
	MaxOccupants int  `yaml:"max_occupants" doc:"People in one room."`
	Rate         int  `yaml:"messages_per_second" doc:"Messages and presence updates a second that one occupant may send to a room for long; five seconds' worth at once."`
	CreateByAll  bool `yaml:"create_by_all" doc:"Let guests create rooms too, not only people with an account and the focus."`
}

// MeetingsConfig is the focus.
type MeetingsConfig struct {
	MinParticipants   int      `yaml:"min_participants" doc:"How many must be in the room before media starts."`
	AutoOwner         bool     `yaml:"auto_owner" doc:"The first participant becomes moderator, and another when the last moderator leaves. Where people have tokens, all do whose token does not say whether they are."`
	RequireAccount    bool     `yaml:"require_account" doc:"Only people with an account may start a meeting; guests may join it."`
	RequireToken      bool     `yaml:"require_token" doc:"Nobody comes as a guest without one of tokens; else guests without one may join a meeting that others have begun."`
	LobbyNameRequired bool     `yaml:"lobby_name_required" doc:"Nobody may knock at a lobby without a display name."`
	LobbyPersistent   bool     `yaml:"lobby_persistent" doc:"A meeting with a lobby stays while somebody waits, also when all others have left."`
	LobbyWhiteList    []string `yaml:"lobby_whitelist" doc:"Domains and addresses that need not knock: recorders, telephone gateways."`
	Tenants           bool     `yaml:"tenants" doc:"Serve meetings of tenants too: room@conference.TENANT.domain, /TENANT/room."`
	StrictNicks       bool     `yaml:"strict_nicks" doc:"Guests may enter meetings only under the id that belongs to their address, as Jitsi clients do."`
	FlexFEC           bool     `yaml:"flexfec" doc:"Send repair packets with video to receivers that lose packets, if their client understands them (the meeting page in Chromium)."`
	Visitors          int      `yaml:"visitors" doc:"When so many take part in a meeting, further ones become visitors, who see and hear it and chat, and may raise a hand to be let in; 0: there are none. Needs guests and a stock jitsi-meet (http.site)."`
	MaxVisitors       int      `yaml:"max_visitors" doc:"Visitors of one meeting."`
	SSRCRewriting     bool     `yaml:"ssrc_rewriting" doc:"Map many sources to few SSRCs for clients that can (current Jitsi clients)."`
}

// MediaConfig is the SFU.
type MediaConfig struct {
	Port       int      `yaml:"port" doc:"UDP port of all media."`
	TCP        bool     `yaml:"tcp" doc:"Take media over TCP too, on the port of the same number, from clients whose network lets no UDP out (ICE-TCP)."`
	Advertise  []string `yaml:"advertise" doc:"Public IP addresses that clients should try too, when the server is behind NAT."`
	STUN       []string `yaml:"stun" doc:"STUN servers (host:port) that are asked for the public address, when the server is behind NAT and that address is not fixed."`
	Shards     int      `yaml:"shards" doc:"Sockets per address, each with its thread; 0 is one per core."`
	ChannelMin int      `yaml:"channel_port_min" doc:"First UDP port of channels that clients allocate at the bridge (XEP-0340, see bridge.desktop); 0: the system chooses."`
	ChannelMax int      `yaml:"channel_port_max" doc:"Last UDP port of those channels."`
	LoudestN   int      `yaml:"loudest_n" doc:"Forward only so many speakers of a meeting at a time, the loudest; 0 is all. At most 32."`
}

// TURNConfig is the TURN server.
type TURNConfig struct {
	Port      int           `yaml:"port" doc:"UDP and TCP port; 0 turns the TURN server off."`
	TLSPort   int           `yaml:"tls_port" doc:"TCP port for TURN over TLS; 0 is off."`
	HTTPS     bool          `yaml:"https" doc:"Take TURN over TLS on the HTTPS port too, for networks that let nothing else out."`
	OnMedia   bool          `yaml:"media_port" doc:"Take TURN over UDP on the media port too, and tell clients that port instead of the other, so that one open UDP port is enough."`
	Host      string        `yaml:"host" doc:"Name or address that clients are told. Empty: host."`
	RelayMin  int           `yaml:"relay_port_min" doc:"First UDP port of relayed addresses."`
	RelayMax  int           `yaml:"relay_port_max" doc:"Last UDP port of relayed addresses."`
	Secret    string        `yaml:"secret" doc:"Shared secret of time-limited credentials. Empty: made once and kept in the data folder."`
	Allow     []string      `yaml:"allow" doc:"Networks that may be relayed to although they are private. Our own SFU always may."`
	Deny      []string      `yaml:"deny" doc:"More networks that may not be relayed to."`
	PerUser   int           `yaml:"allocations_per_user" doc:"Allocations of one user at a time."`
	PerSource int           `yaml:"allocations_per_address" doc:"Allocations of one client address at a time."`
	Lifetime  time.Duration `yaml:"max_lifetime" doc:"Longest time that an allocation lives without being refreshed; 1h is the most."`
	Bandwidth int           `yaml:"bytes_per_second" doc:"Most that one allocation relays in each direction, bytes a second; 0 is no limit."`
	Users     []string      `yaml:"users" doc:"Static users, as name:password, for clients that get no credentials from us."`
}

// DefaultConfig is what runs without a file.
func DefaultConfig() Config {
	return Config{
		Domain: "localhost",
		Data:   "./data",
		Listen: []string{"127.0.0.1", "::1"},
		TLS:    TLSConfig{ACME: certs.DefaultACMEConfig()},
		Log:    LogConfig{Level: "info", Format: "text", Keep: 30 * 24 * time.Hour},
		HTTP:   HTTPConfig{Port: 8443},
		XMPP: XMPPConfig{Port: 5222, TLSPort: 5223, Guests: true, MaxStanzaBytes: 256 << 10, RateBytesPerSec: 100_000, FanoutPerSecond: 2000, ResumeTime: 10 * time.Minute, SessionsPerUser: 20,
			Invitations: InvitationsConfig{Life: 7 * 24 * time.Hour},
			Federation:  FederationConfig{Port: 5269, TLSPort: 5270, RateBytesPerSec: s2s.DefaultLimits().RateBytes}, Components: ComponentsConfig{Port: 5347, Listen: []string{"127.0.0.1", "::1"}}},
		Rooms:    RoomsConfig{History: 50, MaxRooms: 10_000, MaxOccupants: 1000, Rate: 20},
		About:    AboutConfig{Retention: "infinite"},
		Upload:   UploadConfig{MaxFile: 100 << 20, Quota: 1 << 30, Total: 50 << 30, Keep: 30 * 24 * time.Hour},
		Proxy:    ProxyConfig{Port: 7777, MaxStreams: 500, PerAccount: 10, AccountRate: 25_000_000},
		Meetings: MeetingsConfig{MinParticipants: 2, AutoOwner: true, LobbyNameRequired: true, Tenants: true, FlexFEC: true, SSRCRewriting: true, MaxVisitors: 5000},
		Bridge:   BridgeConfig{Own: "equal", REST: "off", Desktop: true, MaxEndpoints: 80},
		Media:    MediaConfig{Port: 10000, TCP: true},
		TURN:     TURNConfig{Port: 3478, TLSPort: 5349, HTTPS: true, RelayMin: 49152, RelayMax: 65535, PerUser: 10, PerSource: 100, Lifetime: time.Hour},
		Services: ServicesConfig{Jibri: "jibribrewery", Jigasi: "jigasibrewery"},
		Tokens:   token.DefaultConfig(),
		API:      token.Config{Audiences: []string{"*"}},
		Auth:     auth.DefaultConfig(),
	}
}

// loadConfig reads file over the defaults; "" is the defaults alone. The error is one line that says what to do.
func loadConfig(file string) (Config, error) {
	c := DefaultConfig()
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("config: %w: name a readable file after -config", err)
		}
		if err := conf.Load(b, &c); err != nil {
			return c, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := c.check(); err != nil {
		if file != "" {
			return c, fmt.Errorf("%s: %w", file, err)
		}
		return c, err
	}
	return c, nil
}

// addrs are the listen addresses with port.
func (c *Config) addrs(port int) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range c.Listen {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), uint16(port)))
	}
	return out
}

// dnsName is the domain as DNS and certificates have it.
func (c *Config) dnsName() string { return stanza.DNSName(c.Domain) }

// host is the machine's name.
func (c *Config) host() string { return cmp.Or(c.Host, c.dnsName()) }

// resolver asks DNS.
func (c *Config) resolver() *net.Resolver {
	if c.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, c.Resolver)
	}}
}

// below are the domains that other servers talk to besides the service's own, as DNS has them.
func (c *Config) below() []string {
	out := []string{"conference." + c.dnsName(), "pubsub." + c.dnsName()}
	if c.Upload.MaxFile > 0 {
		out = append(out, "upload."+c.dnsName())
	}
	if c.Proxy.Port != 0 {
		out = append(out, "proxy."+c.dnsName())
	}
	return out
}

// publicURL is where people find the page, with a slash at its end.
func (c *Config) publicURL() string {
	if c.HTTP.PublicURL != "" {
		return strings.TrimSuffix(c.HTTP.PublicURL, "/") + "/"
	}
	if c.HTTP.Port == 443 {
		return "https://" + c.host() + "/"
	}
	return fmt.Sprintf("https://%s:%d/", c.host(), c.HTTP.Port)
}

func (c *Config) file(name string) string { return filepath.Join(c.Data, name) }
