package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/auth/ldaptest"
)

// campus is a directory with groups, and who was here.
func campus(t *testing.T, dir *ldaptest.Directory, change func(*LDAPConfig)) (*Combined, *People) {
	t.Helper()
	c := ldapConfig(dir)
	c.People.Groups.BaseDN = ldaptest.GroupsDN
	c.People.Groups.Rosters, c.People.Groups.Rooms, c.People.Groups.Hats = []string{"course-*"}, []string{"course-*"}, []string{"tutors=Tutor"}
	c.People.SearchFilter = "(employeeType=visible)"
	if change != nil {
		change(&c)
	}
	d := newLDAP(t, c)
	l := newLocal(t)
	p := NewPeople(l.db, d, quiet)
	return NewCombined(l, d, p), p
}

// TestMailLogin: people type their mail address, whole or as a client splits it; what is no localpart is escaped (XEP-0106).
func TestMailLogin(t *testing.T) {
	dir := ldaptest.Start(t)
	byUID, _ := campus(t, dir, nil)
	byMail, _ := campus(t, dir, func(c *LDAPConfig) { c.Localpart = "mail"; c.LoginAttributes = []string{"mail", "uid"} })
	for _, tc := range []struct {
		c                    *Combined
		user, password, want string
	}{
		{byUID, "alice.liddell", "wonderland", "alice"},
		{byUID, "Alice.Liddell@example.org", "wonderland", "alice"},
		{byUID, "alice@example.org", "wonderland", "alice"},
		{byUID, "mad.hatter@partner.org", "teatime", `mad.hatter\40partner.org`},
		{byUID, `mad.hatter\40partner.org`, "teatime", `mad.hatter\40partner.org`},
		{byUID, "mad.hatter", "teatime", ""}, // not of this house
		{byMail, "alice", "wonderland", "alice"},
		{byMail, "alice.liddell", "wonderland", "alice"}, // the first address is the one
		{byMail, "mad.hatter@partner.org", "teatime", `mad.hatter\40partner.org`},
		{byUID, "shared", "carolpw", ""}, // whose?
	} {
		if got := check(t, tc.c, tc.user, tc.password); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.user, got, tc.want)
		}
		local, err := tc.c.Localpart(context.Background(), tc.user)
		if local != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s is the login of %q, %v", tc.user, local, err)
		}
		if tc.want != "" {
			if ok, err := tc.c.Exists(context.Background(), tc.want); !ok || err != nil {
				t.Errorf("%s does not exist: %v", tc.want, err)
			}
		}
	}
}

func TestEscapeLocalpart(t *testing.T) {
	for plain, want := range map[string]string{
		"space cadet": `space\20cadet`, `call me "ishmael"`: `call\20me\20\22ishmael\22`, "at&t guy": `at\26t\20guy`, "d'artagnan": `d\27artagnan`,
		"/.fanboy": `\2f.fanboy`, "::foo::": `\3a\3afoo\3a\3a`, "<foo>": `\3cfoo\3e`, "user@host": `user\40host`, `c:\net`: `c\3a\net`,
		`c:\cool stuff`: `c\3a\cool\20stuff`, `c:\5commas`: `c\3a\5c5commas`, " trimmed ": "trimmed",
	} { // XEP-0106 §5
		if got := escapeLocalpart(plain); got != want {
			t.Errorf("%q is escaped as %q, want %q", plain, got, want)
		}
		if got := unescapeLocalpart(want); got != strings.Trim(plain, " ") {
			t.Errorf("%q is unescaped as %q", want, got)
		}
	}
}

// TestPeople: groups give what the settings say; who leaves is shut out by the next look or login and deleted after the grace; who comes
// back is in again; a directory that has lost many is not believed.
func TestPeople(t *testing.T) {
	ctx := context.Background()
	dir := ldaptest.Start(t)
	c, p := campus(t, dir, nil)
	var left, expired, grouped []string
	p.Follow(PeopleEvents{
		Left:    func(l string) { left = append(left, l) },
		Expired: func(_ context.Context, l string) error { expired = append(expired, l); return nil },
		Grouped: func(l []string) { grouped = l },
	})
	now := time.Now()
	p.now = func() time.Time { return now }
	sync := func(force bool) (Report, error) { return p.Sync(ctx, force) }
	if r, err := sync(false); err != nil || r.Groups != 2 || r.People < 5 || !slices.Equal(grouped, []string{"alice", "bob"}) {
		t.Fatalf("%+v %v %v", r, err, grouped)
	}
	var gives []string
	for _, g := range p.Groups().Of("alice") {
		gives = append(gives, fmt.Sprint(g.Name, " ", g.Title, " ", g.Members, g.Roster, g.Room, g.Hat))
	}
	if want := []string{"course-algebra Algebra I [alice bob] true true", "tutors tutors [alice] false falseTutor"}; !slices.Equal(gives, want) {
		t.Errorf("%q", gives)
	}
	if p.Groups().Called("bob") != "Bob Dobbs" {
		t.Error("name of a member")
	}
	check(t, c, "alice", "wonderland")
	check(t, c, "bob", "grüße")
	// bob loses the right, and has a token.
	tokens := NewTokens(p.db)
	if _, _, err := tokens.IssueToken(ctx, "bob", "phone", "HT-SHA-256-NONE"); err != nil {
		t.Fatal(err)
	}
	dir.Delete("bob")
	grouped = nil
	if r, err := sync(false); err != nil || !slices.Equal(r.Left, []string{"bob"}) || !slices.Equal(left, []string{"bob"}) || !slices.Equal(grouped, []string{"alice", "bob"}) {
		t.Errorf("%+v %v %v %v", r, err, left, grouped)
	}
	if list, _ := tokens.Clients(ctx, "bob"); len(list) != 0 {
		t.Error("the leaver has tokens")
	}
	if ok, _ := c.Exists(ctx, "bob"); ok {
		t.Error("the leaver exists")
	}
	// alice leaves; a login notices.
	dir.Delete("alice")
	if check(t, c, "alice", "wonderland") != "" || !slices.Equal(left, []string{"bob", "alice"}) {
		t.Errorf("left: %v", left)
	}
	now = now.Add(p.cfg.Grace + time.Second)
	if r, err := sync(false); err != nil || !slices.Equal(r.Expired, []string{"alice", "bob"}) || !slices.Equal(expired, r.Expired) {
		t.Errorf("%+v %v", r, err)
	}
	if list, err := p.List(ctx); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
	// The operator shuts somebody out.
	if err := p.Disable(ctx, "carol", true); err != nil || check(t, c, "carol", "carolpw") != "" {
		t.Error("disabled person logs in", err)
	}
	if err := p.Disable(ctx, "carol", false); err != nil || check(t, c, "carol", "carolpw") != "carol" {
		t.Error("enabled person does not log in", err)
	}
	if err := p.Disable(ctx, "nobody", true); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
	// Many at once.
	for i := range 20 {
		if _, err := p.loggedIn(ctx, fmt.Sprint("ghost", i)); err != nil {
			t.Fatal(err)
		}
	}
	left = nil
	if _, err := sync(false); !errors.Is(err, ErrManyLeft) || len(left) != 0 {
		t.Errorf("%v, left %v", err, left)
	}
	if r, err := sync(true); err != nil || len(r.Left) != 20 {
		t.Errorf("%+v %v", r, err)
	}
	if ok, err := p.loggedIn(ctx, "ghost1"); !ok || err != nil {
		t.Error(ok, err)
	}
	if s, err := p.state(ctx, "ghost1"); s.gone != 0 || err != nil {
		t.Errorf("who came back is gone: %+v %v", s, err)
	}
	// Without the directory what was known holds.
	dir.Stop()
	p.dir.exists = map[string]remembered{}
	for user, want := range map[string]bool{"carol": true, "ghost1": true, "ghost2": false} {
		if ok, err := c.Exists(ctx, user); ok != want || err != nil {
			t.Errorf("%s exists: %v, %v", user, ok, err)
		}
	}
	if _, err := sync(false); err == nil {
		t.Error("a sync without a directory")
	}
}

func TestPersonAndSearch(t *testing.T) {
	ctx := context.Background()
	c, _ := campus(t, ldaptest.Start(t), func(c *LDAPConfig) { c.Consent = "(!(uid=carol))" })
	p, err := c.dir.Person(ctx, "alice")
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	if want := "[{FN Alice Liddell} {N.FAMILY Liddell} {N.GIVEN Alice} {TEL +49 7531 88-0} {EMAIL alice@example.org} {ORG.ORGUNIT Mathematics}]"; fmt.Sprint(p.Fields) != want || string(p.Photo) != string(ldaptest.Photo) {
		t.Errorf("%v, photo of %d bytes", p.Fields, len(p.Photo))
	}
	if p, err := c.dir.Person(ctx, "nobody"); p != nil || err != nil {
		t.Error(p, err)
	}
	for _, tc := range []struct {
		wanted []Field
		want   int
	}{
		{[]Field{{"", "liddell"}}, 1}, {[]Field{{"N.FAMILY", "idd"}, {"N.GIVEN", "Ali"}}, 1}, {[]Field{{"EMAIL", "example.org"}}, 1},
		{[]Field{{"N.FAMILY", "bob"}}, 0}, {[]Field{{"", "Dobbs"}}, 0}, // does not let himself be found
		{[]Field{{"", ""}}, 0}, {nil, 0}, {[]Field{{"", "*"}}, 0}, {[]Field{{"", "x)(uid=*"}}, 0}, {[]Field{{"PHOTO", "JFIF"}}, 0},
	} {
		found, err := c.dir.Search(ctx, tc.wanted)
		if err != nil || len(found) != tc.want {
			t.Errorf("%v finds %d, %v", tc.wanted, len(found), err)
		}
	}
	// Who has not agreed may not log in; carol's mail address is now bob's alone.
	if check(t, c, "carol", "carolpw") != "" || check(t, c, "shared@example.org", "grüße") != "bob" {
		t.Error("consent")
	}
}

func TestExplain(t *testing.T) {
	dir := ldaptest.Start(t)
	for name, tc := range map[string]struct {
		change         func(*LDAPConfig)
		user, password string
		fails          bool
		want           []string
	}{
		"fine":                {nil, "alice.liddell", "wonderland", false, []string{"ok    one entry", "XMPP address alice@example.org", "group  course-algebra gives contacts, a room", "group  tutors gives the hat Tutor", "can be found", "the password is right"}},
		"no password":         {nil, "bob", "", false, []string{"no password was given", "cannot be found by others"}},
		"wrong password":      {nil, "bob", "x", true, []string{"FAIL  the directory refuses the password"}},
		"nobody":              {nil, "nobody", "", true, []string{"FAIL  nobody found"}},
		"several":             {nil, "shared@example.org", "", true, []string{"FAIL  2 entries"}},
		"not entitled":        {func(c *LDAPConfig) { c.Filter = "(employeeType=visible)" }, "bob", "", true, []string{"FAIL  not entitled"}},
		"no consent":          {func(c *LDAPConfig) { c.Consent = "(employeeType=visible)" }, "bob", "", true, []string{"ok    entitled", "FAIL  not asked for it"}},
		"wrong bind password": {func(c *LDAPConfig) { c.BindPassword = "x" }, "bob", "", true, []string{"FAIL  no server", "correct auth.ldap.bind_dn and auth.ldap.bind_password"}},
		"unknown authority":   {func(c *LDAPConfig) { c.CAFile = "" }, "bob", "", true, []string{"set auth.ldap.ca_file"}},
		"nothing listens":     {func(c *LDAPConfig) { c.URLs = append([]string{deadURL(t)}, c.URLs...) }, "bob", "", false, []string{"nothing listens there", "others do"}},
	} {
		c, _ := campus(t, dir, tc.change)
		var out strings.Builder
		err := c.dir.Explain(context.Background(), &out, tc.user, tc.password)
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, out.String())
			}
		}
	}
}
