package peers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"crypto/pbkdf2"

	"go.uber.org/goleak"

	"konzil/bench/measure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// xmppPeers are started, an account logs in over direct TLS, and they are stopped; nothing may be left behind.
func TestXMPPPeers(t *testing.T) {
	for _, name := range []string{"konzil", "prosody", "ejabberd"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			o := Options{Accounts: 3, CPUs: Allowed()[:1]}
			target, err := Start(ctx, name, o)
			if errors.Is(err, ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			dir := ""
			for _, f := range strings.Fields(target.Command) {
				if strings.Contains(f, "bench-"+name) {
					dir = strings.Trim(f, `"`)
				}
			}
			t.Cleanup(func() {
				if err := target.Stop(); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("%s is left", dir)
				}
			})
			u, err := measure.ReadUsage(target, true)
			if err != nil || u.CPU == 0 || u.RSS == 0 || u.PSS == 0 {
				t.Errorf("%+v %v", u, err)
			}
			t.Logf("%s: %.1f MB, %v", target.Version, float64(u.PSS)/(1<<20), u.CPU)
			if err := login(target, target.AccountName(2), measure.AccountPassword); err != nil {
				t.Error(err)
			}
			if err := login(target, target.AccountName(2), "wrong"); err == nil {
				t.Error("logged in with a wrong password")
			}
		})
	}
}

// login speaks SCRAM-SHA-1 (RFC 5802 §3) over direct TLS.
func login(t *measure.Target, user, password string) error {
	d := &net.Dialer{Timeout: 5 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", t.Addr["xmpps"], &tls.Config{InsecureSkipVerify: true, ServerName: t.Domain})
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	until := func(end string) (string, error) {
		var b bytes.Buffer
		for !strings.Contains(b.String(), end) {
			x, err := r.ReadByte()
			if err != nil {
				return b.String(), fmt.Errorf("%w after %s", err, b.String())
			}
			b.WriteByte(x)
			if strings.Contains(b.String(), "</failure>") {
				return b.String(), errors.New(b.String())
			}
		}
		return b.String(), nil
	}
	fmt.Fprintf(c, "<stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", t.Domain)
	if _, err := until("</stream:features>"); err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	first := "n=" + user + ",r=abcdefgh"
	fmt.Fprintf(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>%s</auth>", b64([]byte("n,,"+first)))
	answer, err := until("</challenge>")
	if err != nil {
		return err
	}
	answer = answer[strings.Index(answer, ">")+1 : strings.Index(answer, "</challenge>")]
	challenge, err := base64.StdEncoding.DecodeString(answer)
	if err != nil {
		return err
	}
	var nonce, salt string
	var iterations int
	for f := range strings.SplitSeq(string(challenge), ",") {
		switch f[0] {
		case 'r':
			nonce = f[2:]
		case 's':
			b, _ := base64.StdEncoding.DecodeString(f[2:])
			salt = string(b)
		case 'i':
			fmt.Sscan(f[2:], &iterations)
		}
	}
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), iterations, sha1.Size)
	if err != nil {
		return err
	}
	mac := func(k []byte, s string) []byte {
		m := hmac.New(sha1.New, k)
		m.Write([]byte(s))
		return m.Sum(nil)
	}
	final := "c=biws,r=" + nonce
	clientKey := mac(key, "Client Key")
	stored := sha1.Sum(clientKey)
	proof := mac(stored[:], first+","+string(challenge)+","+final)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	fmt.Fprintf(c, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</response>", b64([]byte(final+",p="+b64(proof))))
	_, err = until("<success")
	return err
}
