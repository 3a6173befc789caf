package main

import (
	"cmp"
	"context"
	"net"
	"time"

	"konzil/internal/conf"
	"konzil/internal/oops"
	"konzil/xmpp/bytestreams"
	"konzil/xmpp/ext"
	"konzil/xmpp/stanza"
	"konzil/xmpp/upload"
)

// UploadConfig is the service for files.
type UploadConfig struct {
	MaxFile conf.Size     `yaml:"max_file" doc:"Largest file; 0 turns uploads off."`
	Quota   conf.Size     `yaml:"quota" doc:"All files of one account together; 0 is no limit."`
	Total   conf.Size     `yaml:"total" doc:"All files of all accounts together; 0 is no limit."`
	Keep    time.Duration `yaml:"keep" doc:"How long a file is kept; 0 is for ever. Avatars and what else is uploaded for a profile stay as long as the account."`
	Guests  bool          `yaml:"guests" doc:"Let guests upload files too, not only people with an account."`
}

// ProxyConfig is the file proxy.
type ProxyConfig struct {
	Port        int       `yaml:"port" doc:"TCP port; 0 turns the proxy off. When another program has the port, the server runs without the proxy."`
	Host        string    `yaml:"host" doc:"Name or address that clients are told. Empty: host."`
	Strangers   bool      `yaml:"strangers" doc:"Let people of other servers use it too. Receiving a file from one of ours works in any case."`
	MaxStreams  int       `yaml:"max_streams" doc:"Transfers at a time, in all."`
	PerAccount  int       `yaml:"streams_per_user" doc:"Transfers at a time that one account has started."`
	StreamRate  conf.Size `yaml:"stream_bytes_per_second" doc:"Most that one transfer moves in each direction, bytes a second; 0 is no limit."`
	AccountRate conf.Size `yaml:"user_bytes_per_second" doc:"Likewise of all transfers that one account has started."`
}

// sharing is what files are shared by.
type sharing struct {
	upload *upload.Service    // nil when off
	proxy  *bytestreams.Proxy // likewise
}

// openSharing makes it, and has disco tell of it.
func (s *server) openSharing(disco *ext.Disco) error {
	if err := s.openUpload(); err != nil {
		return err
	}
	if err := s.openProxy(); err != nil {
		return err
	}
	if s.sharing.upload != nil {
		disco.Item(s.sharing.upload.JID.String(), "File sharing")
	}
	if s.sharing.proxy != nil {
		disco.Item(s.sharing.proxy.JID.String(), "File transfer proxy")
	}
	return nil
}

// counters adds the numbers of its parts.
func (h *sharing) counters(c map[string]func() map[string]uint64) {
	if h.upload != nil {
		c["upload"] = h.upload.Counters
	}
	if h.proxy != nil {
		c["proxy"] = h.proxy.Counters
	}
}

// openUpload makes the service for files, where there is a web server to fetch them from.
func (s *server) openUpload() error {
	u := s.cfg.Upload
	if u.MaxFile == 0 || s.cfg.HTTP.Port == 0 {
		return nil
	}
	secret, err := s.keptSecret("upload-secret")
	if err != nil {
		return err
	}
	s.sharing.upload, err = upload.New(upload.Config{
		Domain: "upload." + s.cfg.Domain, URL: s.cfg.publicURL() + "upload/", Dir: s.cfg.file("uploads"), Secret: []byte(secret),
		MaxFile: int64(u.MaxFile), Quota: int64(u.Quota), MaxTotal: int64(u.Total), Keep: u.Keep,
		May: func(who stanza.JID) bool {
			return s.xmpp.HasAccount(who) || u.Guests && who.Domain() == s.xmpp.GuestDomain()
		},
	}, s.xmpp, s.db, s.log.With("part", "upload"))
	if err != nil {
		return oops.File("upload", s.cfg.file("uploads"), "let this user write it", err)
	}
	s.sharing.upload.Start()
	s.onStop(func(context.Context) { s.sharing.upload.Stop() })
	s.xmpp.Mount(s.sharing.upload.JID.Domain(), s.sharing.upload)
	return nil
}

// openProxy makes the file proxy and its listeners. Chat does not depend on it: where its port is taken, it is left out.
func (s *server) openProxy() error {
	c := s.cfg.Proxy
	if c.Port == 0 {
		return nil
	}
	log := s.log.With("part", "proxy")
	var lns []net.Listener
	for _, a := range s.present(s.cfg.addrs(c.Port)) {
		ln, err := listenTCP(a)
		if err != nil {
			log.Error("the file proxy is off: set proxy.port to a free port, or to 0", "err", oops.Listen("proxy", a.String(), "proxy.port", err))
			for _, ln := range lns {
				ln.Close()
			}
			return nil
		}
		lns = append(lns, ln)
	}
	proxy, err := bytestreams.New(bytestreams.Config{
		Domain: "proxy." + s.cfg.Domain, Host: cmp.Or(c.Host, s.cfg.host()), Port: c.Port, MaxStreams: c.MaxStreams, PerAccount: c.PerAccount,
		StreamRate: int(c.StreamRate), AccountRate: int(c.AccountRate),
		May: func(who stanza.JID) bool { return c.Strangers || s.xmpp.HasAccount(who) },
	}, s.xmpp, log)
	if err != nil {
		return err
	}
	s.sharing.proxy = proxy
	s.onStop(func(context.Context) { proxy.Close() })
	s.xmpp.Mount(proxy.JID.Domain(), proxy)
	for _, ln := range lns {
		go proxy.Serve(ln)
	}
	return nil
}
