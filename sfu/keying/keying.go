// Package keying makes SRTP keys by DTLS (RFC 5763, RFC 5764): who we are is Identity, how records reach pion/dtls is Pipe, and Handshake
// gives what opens and seals the media of one peer.
//
// The path: whoever reads the sockets pushes DTLS records into a Pipe (pipe.go); a goroutine of the transport calls Handshake, which checks
// the peer's certificate against the fingerprints of the signalling (identity.go) and exports the keys. A connection that has nothing more to do
// can be put away (park.go).
package keying

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"konzil/sfu/seal"
)

const (
	// flight is the first retransmission interval of DTLS: RFC 6347's second is long for a call.
	flight = 150 * time.Millisecond
	// mtu keeps handshake records below the smallest path MTU of IPv6.
	mtu = 1200
)

// profiles in order of preference; as DTLS server we choose. GCM 128 costs the least (see package sfu).
var profiles = []dtls.SRTPProtectionProfile{ // constant list
	dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

// Config is what a handshake has to know.
type Config struct {
	Identity     Identity
	Client       bool          // we send the ClientHello; else we wait for the peer's
	Fingerprints []Fingerprint // of the peer, as signalled
	SHA1         bool          // a fingerprint by SHA-1 alone will do: that of clients before RFC 8122
	Timeout      time.Duration
	Log          *slog.Logger
}

// Keys are what a handshake gave. Sealer and Opener belong to one owner each; Conn is the caller's to read and to close.
type Keys struct {
	Conn    *Conn
	Sealer  *seal.Sealer
	Opener  *seal.Opener
	Profile dtls.SRTPProtectionProfile
}

// Handshake waits for the peer until ctx ends or Config.Timeout is over. Errors: ErrFingerprint, and what pion/dtls says.
func Handshake(ctx context.Context, pipe *Pipe, cfg Config) (*Keys, error) {
	conn, err := open(pipe, &cfg)
	if err != nil {
		return nil, fmt.Errorf("keying: dtls: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	if err = conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("keying: dtls handshake: %w", err)
	}
	k := &Keys{Conn: conn}
	if err = k.export(cfg.Client); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return k, nil
}

// options are those of all connections.
func (cfg *Config) options() []dtls.Option {
	check := func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) == 0 {
			return ErrFingerprint
		}
		return verify(raw[0], cfg.Fingerprints, cfg.SHA1)
	}
	return []dtls.Option{
		dtls.WithCertificates(cfg.Identity.Certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true), // self-signed by design: the signalled fingerprint is what counts
		dtls.WithVerifyPeerCertificate(check),
		dtls.WithFlightInterval(flight),
		dtls.WithMTU(mtu),
		dtls.WithLoggerFactory(Logs{cfg.Log}),
	}
}

func open(pipe *Pipe, cfg *Config) (*Conn, error) {
	shared := cfg.options()
	if cfg.Client {
		opts := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(pipe, pipeAddr{}, opts...)
	}
	opts := make([]dtls.ServerOption, 0, len(shared)+2)
	for _, o := range shared {
		opts = append(opts, o)
	}
	// No cookie exchange: ICE has validated the address already.
	opts = append(opts, dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true))
	return dtls.ServerWithOptions(pipe, pipeAddr{}, opts...)
}

// export takes the SRTP keys (RFC 5764 §4.2).
func (k *Keys) export(client bool) error {
	sel, ok := k.Conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("keying: no SRTP profile in common")
	}
	st, ok := k.Conn.ConnectionState()
	if !ok {
		return errors.New("keying: DTLS state missing")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(sel)}
	if err := cfg.ExtractSessionKeysFromDTLS(&st, client); err != nil {
		return fmt.Errorf("keying: srtp keys: %w", err)
	}
	var err error
	k.Profile = sel
	if k.Sealer, err = seal.NewSealer(cfg.Profile, seal.Keys{Key: cfg.Keys.LocalMasterKey, Salt: cfg.Keys.LocalMasterSalt}); err != nil {
		return err
	}
	k.Opener, err = seal.NewOpener(cfg.Profile, seal.Keys{Key: cfg.Keys.RemoteMasterKey, Salt: cfg.Keys.RemoteMasterSalt})
	return err
}
