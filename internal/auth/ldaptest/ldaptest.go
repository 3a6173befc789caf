// Package ldaptest runs Debian's slapd with a small campus directory, for tests. It starts nothing unless called.
package ldaptest

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"konzil/internal/certs"
	"konzil/internal/proctest"
)

// Names in the directory.
const (
	BaseDN         = "ou=people,dc=example,dc=org"
	GroupsDN       = "ou=groups,dc=example,dc=org"
	SearchDN       = "cn=searcher,dc=example,dc=org"
	SearchPassword = "searchpw"

	rootDN = "cn=root,dc=example,dc=org"
)

// Directory is a running slapd with a few people in it.
type Directory struct {
	Plain, TLS string // URLs
	CAFile     string
	Stop       func() // may be called before the end of the test
	t          testing.TB
}

// slapdProgram finds slapd, installs it where that is wanted, or skips the test.
func slapdProgram(t testing.TB) string {
	t.Helper()
	for _, p := range []string{"/usr/sbin/slapd", "/usr/lib/openldap/slapd", "/usr/libexec/slapd"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Skip("slapd is not installed: run `make deps` as root on Debian")
	return ""
}

// Start runs it until the end of the test, or skips the test where slapd is not installed.
func Start(t testing.TB) *Directory {
	t.Helper()
	program := slapdProgram(t)
	dir := t.TempDir()
	if _, err := certs.LoadOrCreate(dir, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	modules, _ := filepath.Glob("/usr/lib*/ldap")
	if more, _ := filepath.Glob("/usr/lib/*/openldap"); len(modules) == 0 {
		modules = more
	}
	config := `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile ` + dir + `/pid
modulepath ` + strings.Join(modules, ":") + `
moduleload back_mdb
allow bind_anon_cred bind_anon_dn
TLSCertificateFile ` + dir + `/self-signed.crt
TLSCertificateKeyFile ` + dir + `/self-signed.key
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="` + SearchDN + `" read by self read by anonymous auth by * none
database mdb
suffix "dc=example,dc=org"
rootdn "` + rootDN + `"
rootpw rootpw
directory ` + dir + `/db
`
	if err := errors.Join(os.Mkdir(dir+"/db", 0o700), os.WriteFile(dir+"/slapd.conf", []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	ports := proctest.Ports(t, 2)
	d := &Directory{t: t, Plain: fmt.Sprintf("ldap://127.0.0.1:%d", ports[0]), TLS: fmt.Sprintf("ldaps://127.0.0.1:%d", ports[1]), CAFile: dir + "/self-signed.crt"}
	cmd := exec.Command(program, "-f", dir+"/slapd.conf", "-h", d.Plain+" "+d.TLS, "-d", "0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	d.Stop = func() { once.Do(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) }
	t.Cleanup(d.Stop)
	var c *ldap.Conn
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		var err error
		if c, err = ldap.DialURL(d.Plain); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("slapd does not answer: ", err)
		}
	}
	defer c.Close()
	fill(t, c)
	return d
}

func fill(t testing.TB, c *ldap.Conn) {
	t.Helper()
	if err := c.Bind(rootDN, "rootpw"); err != nil {
		t.Fatal(err)
	}
	add := func(dn string, attrs map[string][]string) {
		r := ldap.NewAddRequest(dn, nil)
		for k, v := range attrs {
			r.Attribute(k, v)
		}
		if err := c.Add(r); err != nil {
			t.Fatal(dn, err)
		}
	}
	add("dc=example,dc=org", map[string][]string{"objectClass": {"dcObject", "organization"}, "o": {"Example"}, "dc": {"example"}})
	for _, dn := range []string{BaseDN, GroupsDN} {
		add(dn, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {dn[3:strings.Index(dn, ",")]}})
	}
	add(SearchDN, map[string][]string{"objectClass": {"organizationalRole", "simpleSecurityObject"}, "cn": {"searcher"}, "userPassword": {SearchPassword}})
	person := func(uid, password string, more map[string][]string, mail ...string) {
		attrs := map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {uid}, "sn": {uid}, "userPassword": {password}}
		if len(mail) > 0 {
			attrs["mail"] = mail
		}
		for k, v := range more {
			attrs[k] = v
		}
		add(PersonDN(uid), attrs)
	}
	person("alice", "wonderland", map[string][]string{
		"cn": {"Alice Liddell"}, "sn": {"Liddell"}, "givenName": {"Alice"}, "telephoneNumber": {"+49 7531 88-0"}, "ou": {"Mathematics"}, "employeeType": {"visible"},
		"jpegPhoto": {string(Photo)},
	}, "alice@example.org", "Alice.Liddell@example.org")
	person("bob", "grüße", map[string][]string{"cn": {"Bob Dobbs"}}, "bob@example.org", "shared@example.org")
	person("carol", "carolpw", nil, "shared@example.org")
	person("star*(x)", "starpw", nil)
	person("with space", "spacepw", nil, "space@example.org")
	person("mad.hatter@partner.org", "teatime", map[string][]string{"cn": {"Hatter"}}, "mad.hatter@partner.org")
	add("cn=course-algebra,"+GroupsDN, map[string][]string{
		"objectClass": {"groupOfNames"}, "cn": {"course-algebra"}, "description": {"Algebra I"},
		"member": {PersonDN("alice"), strings.ToUpper(PersonDN("bob")), PersonDN("nobody")},
	})
	add("cn=tutors,"+GroupsDN, map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"tutors"}, "member": {PersonDN("alice")}})
}

// Photo is the picture of alice: the beginning of a JPEG (ITU T.81 annex B), as far as anybody here looks.
var Photo = []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00 alice")

// PersonDN is the DN of a person.
func PersonDN(uid string) string { return fmt.Sprintf("uid=%s,%s", ldap.EscapeDN(uid), BaseDN) }

// Delete takes a person out of the directory.
func (d *Directory) Delete(uid string) {
	d.t.Helper()
	d.change(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(PersonDN(uid), nil)) })
}

func (d *Directory) change(f func(*ldap.Conn) error) {
	d.t.Helper()
	c, err := ldap.DialURL(d.Plain)
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Bind(rootDN, "rootpw"), f(c)); err != nil {
		d.t.Fatal(err)
	}
}
