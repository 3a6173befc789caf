package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"konzil/internal/auth"
)

const userUsage = `konzil user [-config FILE] list                            local accounts, and people of the directory who have been here
konzil user [-config FILE] add NAME [mail address ...]     the password is read from standard input
konzil user [-config FILE] passwd NAME                     likewise
konzil user [-config FILE] disable|enable NAME             disabling ends sessions and tokens at once
konzil user [-config FILE] delete NAME                     with all that is kept of it
konzil user [-config FILE] invite [NAME]                   a link by which somebody makes an account, of that name if one is given
konzil user [-config FILE] tokens NAME [revoke ID|all]     clients that log in without a password
konzil user [-config FILE] export [NAME ...]               everything that is kept of accounts, as XML (XEP-0227)
konzil user [-config FILE] import                          such XML from standard input, of Prosody or ejabberd too; or accounts, one a line:
                                                           NAME PASSWORD, or NAME and its SCRAM-SHA-256$... keys (RFC 5803)`

// userCommand is `konzil user`: accounts of a server that is open, serving or not.
func (s *server) userCommand(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 || args[0] != "list" && args[0] != "import" && args[0] != "export" && args[0] != "invite" && len(args) < 2 {
		return errors.New("user: say what to do:\n" + userUsage)
	}
	switch verb := args[0]; verb {
	case "list":
		return s.listUsers(ctx, out)
	case "import":
		return s.importUsers(ctx, in, out)
	case "export":
		return s.exportUsers(ctx, args[1:], out)
	case "add", "passwd":
		password, err := readPassword(in)
		if err != nil {
			return err
		}
		if verb == "add" {
			return s.local.Create(ctx, args[1], password, args[2:]...)
		}
		return s.local.SetPassword(ctx, args[1], password)
	case "disable", "enable":
		return s.disableUser(ctx, args[1], verb == "disable")
	case "delete":
		return s.deleteUser(ctx, args[1], out)
	case "invite":
		return s.inviteUser(ctx, args[1:], out)
	case "tokens":
		return s.userTokens(ctx, args[1], args[2:], out)
	default:
		return fmt.Errorf("user: no command %q:\n%s", verb, userUsage)
	}
}

func (s *server) listUsers(ctx context.Context, out io.Writer) error {
	row := func(localpart string, disabled bool, more ...string) {
		fields := []string{localpart + "@" + s.cfg.Domain}
		if disabled {
			fields = append(fields, "disabled")
		}
		fmt.Fprintln(out, strings.Join(append(fields, more...), " "))
	}
	list, err := s.local.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range list {
		row(a.Localpart, a.Disabled, a.Aliases...)
	}
	if s.people == nil {
		return nil
	}
	known, err := s.people.List(ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		more := []string{"directory", "seen", k.Seen.Format(time.DateOnly)}
		if !k.Gone.IsZero() {
			more = append(more, "left", k.Gone.Format(time.DateOnly))
		}
		row(k.Localpart, k.Disabled, more...)
	}
	return nil
}

// disableUser shuts an account of either kind out, or lets it in again.
func (s *server) disableUser(ctx context.Context, localpart string, disabled bool) error {
	owner, err := s.account(localpart)
	if err != nil {
		return err
	}
	err = s.local.Disable(ctx, owner.Local(), disabled)
	if errors.Is(err, auth.ErrNoAccount) && s.people != nil {
		err = s.people.Disable(ctx, owner.Local(), disabled)
	}
	if err == nil && disabled {
		s.shutOut(owner, "this account is disabled")
	}
	return err
}

func (s *server) deleteUser(ctx context.Context, localpart string, out io.Writer) error {
	owner, err := s.account(localpart)
	if err != nil {
		return err
	}
	there, err := s.local.Exists(ctx, owner.Local())
	if err != nil {
		return err
	}
	if !there && s.people == nil {
		return fmt.Errorf("%w: %s", auth.ErrNoAccount, owner.Local())
	}
	if err := s.deleteAccount(ctx, owner.Local()); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s deleted, with", owner)
	for i, k := range s.keepings() {
		if i > 0 {
			fmt.Fprint(out, ",")
		}
		fmt.Fprint(out, " ", k.name)
	}
	fmt.Fprintln(out)
	return nil
}

// userTokens shows clients that log in without a password, and takes their tokens (XEP-0484).
func (s *server) userTokens(ctx context.Context, localpart string, args []string, out io.Writer) error {
	owner, err := s.account(localpart)
	if err != nil {
		return err
	}
	if len(args) == 2 && args[0] == "revoke" {
		client := args[1]
		if client == "all" {
			client = ""
		}
		return s.tokens.Revoke(ctx, owner.Local(), client)
	}
	if len(args) != 0 {
		return errors.New("user: say: tokens NAME, or tokens NAME revoke ID, or tokens NAME revoke all")
	}
	list, err := s.tokens.Clients(ctx, owner.Local())
	for _, c := range list {
		fmt.Fprintln(out, c.ID, c.Mechanism, "issued", c.Issued.Format(time.DateTime), "until", c.Expiry.Format(time.DateTime))
	}
	return err
}

var errNoPassword = errors.New("user: no password on standard input")

// readPassword takes one line, so that a password is never in the list of processes.
func readPassword(in io.Reader) (string, error) {
	if in == nil {
		return "", errNoPassword
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errNoPassword
	}
	return line, nil
}

// maxImportLine bounds one line of an import, bytes.
const maxImportLine = 8192

// readAccounts reads lines of NAME PASSWORD or NAME KEYS. Empty lines, and those that begin with #, are skipped.
func readAccounts(in io.Reader) ([]auth.Imported, error) {
	var list []auth.Imported
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, maxImportLine)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		a := auth.Imported{Localpart: name, Password: rest}
		if strings.HasPrefix(rest, "SCRAM-SHA-") {
			a.Password, a.Keys = "", strings.Fields(rest)
		}
		if rest == "" {
			return nil, fmt.Errorf("user: line %d: no password after %q", n, name)
		}
		list = append(list, a)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	return list, nil
}
