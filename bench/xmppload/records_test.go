package xmppload

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
)

// RFC 8448 §3: the server's keys of application data.
func TestRecordKeys(t *testing.T) {
	secret, _ := hex.DecodeString("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
	for label, want := range map[string]string{"key": "9f02283b6c9c07efc26bb9f2ac92e356", "iv": "cf782b88dd83549aadf1e984"} {
		if got, err := expandLabel(sha256.New, secret, label, len(want)/2); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v", label, got, err)
		}
	}
}

// twoSides are connected records of AES-256.
func twoSides(t testing.TB) (a, b *records) {
	a, b = &records{sock: &sock{fd: 1}}, &records{sock: &sock{fd: 1}} // fd: nothing is sent
	for _, d := range []*direction{&a.out, &b.in} {
		if err := d.init(sha512.New384, bytes.Repeat([]byte{7}, 48), 32); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// What is sealed is opened in whatever pieces it comes, padding or not, and nothing else is.
func TestRecordsInPieces(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 5000)
	for _, piece := range []int{1, 7, 1 << 20} {
		a, b := twoSides(t)
		_, _ = a.Write(want[:10])
		_, _ = a.Write(want[10:]) // more than a record
		var got []byte
		for in := unsent(a.sock); len(in) > 0; {
			n := min(piece, len(in))
			if err := b.each(in[:n:n], func(p []byte) error { got = append(got, p...); return nil }); err != nil {
				t.Fatal(err)
			}
			in = in[n:]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("pieces of %d: %d bytes", piece, len(got))
		}
	}
	none := func([]byte) error { return errors.New("something was said") }
	a, b := twoSides(t)
	_, _ = a.Write([]byte("x"))
	a.sock.out[recordHead] ^= 1
	if err := b.each(a.sock.out, none); !errors.Is(err, errRecord) {
		t.Errorf("changed: %v", err)
	}
	_, b = twoSides(t)
	if err := b.each([]byte{kindData, 3, 3, 0xff, 0xff}, none); !errors.Is(err, errRecord) {
		t.Errorf("too long: %v", err)
	}
	for _, c := range []struct {
		inner []byte
		want  error
	}{{[]byte{1, 0, kindAlert, 0, 0}, io.EOF}, {[]byte{2, 40, kindAlert}, tls.AlertError(40)}, {[]byte{msgTicket, 0, 0, 0, kindHand}, nil}, {[]byte{24, 0, 0, 1, 0, kindHand}, errKeyUpdate},
		{[]byte{0, 0}, errRecord}, {[]byte{1, 99}, errRecord}, {[]byte{kindData, 0}, nil}} {
		a, b := twoSides(t)
		head := []byte{kindData, 3, 3, 0, byte(len(c.inner) + 16)}
		rec := a.out.aead.Seal(head, a.out.next(), c.inner, head)
		if err := b.each(rec, none); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c.inner, err)
		}
	}
}

// unsent takes what waits to be sent.
func unsent(s *sock) []byte {
	b := s.out
	s.out = nil
	return b
}

// A connection of crypto/tls is taken over right behind its handshake, whatever came in the same packet.
func TestRecordsTakeOver(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		_, err = s.Write([]byte("first")) // with the tickets
		if err == nil {
			_, err = io.Copy(s, s)
		}
		served <- errors.Join(err, s.Close())
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{tls: tlsConfig("localhost")}
	c := &client{w: w, sock: &sock{Conn: conn, fd: -1}}
	if err := c.handshake(); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.top.(*records); !ok {
		t.Fatalf("%T was not taken over", c.top)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c.top, b); err != nil || string(b) != "first" {
		t.Fatalf("%q, %v", b, err)
	}
	want := bytes.Repeat([]byte("echo "), 10000)
	if _, err := c.top.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.top, got); err != nil || !bytes.Equal(got, want) {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := c.top.Read(b); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	_ = c.top.Close()
}

// What a server sends must neither hang nor break the reader, however it is cut.
func FuzzRecords(f *testing.F) {
	a, _ := twoSides(f)
	_, _ = a.Write([]byte("<message/>"))
	_, _ = a.Write([]byte("<presence/>"))
	f.Add(a.sock.out, uint8(3))
	f.Add([]byte{kindChanged, 3, 3, 0, 1, 1, kindData, 3, 3, 0, 0}, uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		_, b := twoSides(t)
		n := int(cut)%32 + 1
		said := 0
		for rest := bytes.Clone(in); len(rest) > 0; {
			k := min(n, len(rest))
			if b.each(rest[:k:k], func(p []byte) error { said += len(p); return nil }) != nil {
				break
			}
			rest = rest[k:]
		}
		if said > len(in) {
			t.Errorf("%d bytes out of %d", said, len(in))
		}
	})
}
