package xmppload

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// records are the records of a TLS 1.3 connection whose handshake crypto/tls has done (RFC 8446 §5). What comes is decrypted where it lies, and what goes is
// encrypted where it waits for the socket: crypto/tls copies twice each way, with locks, which was an eighth of the generator's CPU time.
// AES-GCM is there, which is what servers choose; a connection with another cipher stays with crypto/tls.
type records struct {
	sock    *sock
	in, out direction
	part    []byte // the beginning of a record whose end has not come
	plain   []byte // decrypted for Read, not taken yet
	err     error  // what came behind plain
}

const (
	recordHead  = 5
	recordMost  = 1 << 14          // of content, RFC 8446 §5.1
	sealedMost  = recordMost + 256 // §5.2
	kindChanged = 20               // change_cipher_spec, which means nothing (§5)
	kindAlert   = 21
	kindHand    = 22 // handshake
	kindData    = 23 // application_data, and all that is encrypted
	msgTicket   = 4  // new_session_ticket (§4.6.1)
)

var (
	errRecord    = errors.New("xmppload: the server broke TLS")
	errKeyUpdate = errors.New("xmppload: the server wants new TLS keys, for which a run is too short")
)

// direction is the keys of one side (RFC 8446 §7.3), and how many records they had.
type direction struct {
	aead  cipher.AEAD
	iv    [12]byte
	seq   uint64
	nonce [12]byte // at hand; not on the stack, from where each would escape
}

// newRecords takes a connection over right behind its handshake, when nothing that came after that was read; secrets is what was logged. nil: it stays with t.
func newRecords(t *tls.Conn, s *sock, secrets *secretLog) (*records, error) {
	cs := t.ConnectionState()
	if cs.Version != tls.VersionTLS13 {
		return nil, nil
	}
	var h func() hash.Hash
	size := 16
	switch cs.CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
		h = sha256.New
	case tls.TLS_AES_256_GCM_SHA384:
		h, size = sha512.New384, 32
	default:
		return nil, nil
	}
	r := &records{sock: s}
	return r, errors.Join(r.in.init(h, secrets.server, size), r.out.init(h, secrets.client, size))
}

func (d *direction) init(h func() hash.Hash, secret []byte, size int) error {
	key, err := expandLabel(h, secret, "key", size)
	if err != nil {
		return err
	}
	iv, err := expandLabel(h, secret, "iv", len(d.iv))
	if err != nil {
		return err
	}
	copy(d.iv[:], iv)
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	d.aead, err = cipher.NewGCM(block)
	return err
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
func expandLabel(h func() hash.Hash, secret []byte, label string, size int) ([]byte, error) {
	label = "tls13 " + label
	info := string(binary.BigEndian.AppendUint16(nil, uint16(size))) + string(rune(len(label))) + label + "\x00"
	return hkdf.Expand(h, secret, info, size)
}

// next is the nonce of the next record (RFC 8446 §5.3).
func (d *direction) next() []byte {
	binary.BigEndian.PutUint32(d.nonce[:], binary.BigEndian.Uint32(d.iv[:]))
	binary.BigEndian.PutUint64(d.nonce[4:], binary.BigEndian.Uint64(d.iv[4:])^d.seq)
	d.seq++
	return d.nonce[:]
}

// seal appends the record of p to b.
func (d *direction) seal(b, p []byte) []byte {
	at := len(b)
	b = append(b, kindData, 3, 3, 0, 0)
	binary.BigEndian.PutUint16(b[at+3:], uint16(len(p)+1+d.aead.Overhead()))
	b = append(append(b, p...), kindData)
	return d.aead.Seal(b[:at+recordHead], d.next(), b[at+recordHead:], b[at:at+recordHead])
}

// open takes the first record of b: what it says, and what is behind it. Whole is false when its end has not come; plain may be empty.
func (r *records) open(b []byte) (plain, rest []byte, whole bool, err error) {
	if len(b) < recordHead {
		return nil, b, false, nil
	}
	n := recordHead + int(binary.BigEndian.Uint16(b[3:]))
	if n > recordHead+sealedMost {
		return nil, b, false, errRecord
	}
	if len(b) < n {
		return nil, b, false, nil
	}
	if b[0] == kindChanged {
		return nil, b[n:], true, nil
	}
	plain, err = r.in.aead.Open(b[recordHead:recordHead], r.in.next(), b[recordHead:n], b[:recordHead])
	if err != nil {
		return nil, b, false, errRecord
	}
	for len(plain) > 0 && plain[len(plain)-1] == 0 { // padding, §5.4
		plain = plain[:len(plain)-1]
	}
	if len(plain) == 0 {
		return nil, b, false, errRecord
	}
	kind := plain[len(plain)-1]
	if plain = plain[:len(plain)-1]; kind != kindData {
		plain, err = nil, other(kind, plain)
	}
	return plain, b[n:], true, err
}

// other takes what is no data: tickets are of no use to us.
func other(kind byte, p []byte) error {
	switch {
	case kind == kindAlert && len(p) == 2 && p[1] == 0: // close_notify
		return io.EOF
	case kind == kindAlert && len(p) == 2:
		return tls.AlertError(p[1])
	case kind == kindHand && len(p) > 0 && p[0] == msgTicket:
		return nil
	case kind == kindHand:
		return errKeyUpdate
	}
	return errRecord
}

// each calls f with what the records say that b completes. b is written over, and what f gets is good during the call.
func (r *records) each(b []byte, f func(plain []byte) error) error {
	if p := r.plain; len(p) > 0 { // Read left it
		r.plain = nil
		if err := f(p); err != nil {
			return err
		}
	}
	if len(r.part) > 0 {
		r.part = append(r.part, b...)
		b = r.part
	}
	for {
		plain, rest, whole, err := r.open(b)
		if err != nil {
			return err
		}
		if !whole {
			r.part = append(r.part[:0], rest...) // rest may lie in part, further on: append copies forward
			return nil
		}
		if b = rest; len(plain) > 0 {
			if err := f(plain); err != nil {
				return err
			}
		}
	}
}

// Read implements io.Reader, for logins and for what frames of its own lie in.
func (r *records) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(r.sock.in) == 0 {
			if err := r.sock.more(); err != nil {
				return 0, err
			}
		}
		r.err = r.each(r.sock.take(), func(plain []byte) error { r.plain = append(r.plain, plain...); return nil })
	}
	n := copy(p, r.plain)
	r.plain = r.plain[:copy(r.plain, r.plain[n:])]
	return n, nil
}

// Write implements io.Writer.
func (r *records) Write(p []byte) (int, error) {
	for q := p; len(q) > 0; {
		n := min(len(q), recordMost)
		r.sock.out = r.out.seal(r.sock.out, q[:n])
		q = q[n:]
	}
	return len(p), r.sock.push()
}

// Close ends the connection without a close_notify, as who loses it does.
func (r *records) Close() error { return r.sock.Close() }

// secretLog keeps the secrets of one connection's data out of what crypto/tls logs (SSLKEYLOGFILE format: label, client's random, secret).
type secretLog struct{ client, server []byte }

func (l *secretLog) Write(line []byte) (int, error) {
	f := strings.Fields(string(line))
	if len(f) != 3 {
		return 0, fmt.Errorf("xmppload: key log: %d fields", len(f))
	}
	var err error
	switch f[0] {
	case "CLIENT_TRAFFIC_SECRET_0":
		l.client, err = hex.DecodeString(f[2])
	case "SERVER_TRAFFIC_SECRET_0":
		l.server, err = hex.DecodeString(f[2])
	}
	return len(line), err
}
