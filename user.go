package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"konzil/internal/auth"
	"konzil/internal/store"
)

const userUsage = `konzil user [-config FILE] list
konzil user [-config FILE] add NAME [mail address ...]     the password is read from standard input
konzil user [-config FILE] passwd NAME                     likewise
konzil user [-config FILE] disable|enable|delete NAME
konzil user [-config FILE] import                          accounts from standard input, one a line: NAME PASSWORD, or NAME and its
                                                           SCRAM-SHA-1$... and SCRAM-SHA-256$... keys (RFC 5803)`

// userCommand is `konzil user`: local accounts, with the server running or not.
func userCommand(ctx context.Context, c Config, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 || args[0] != "list" && args[0] != "import" && len(args) < 2 {
		return errors.New("user: say what to do:\n" + userUsage)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data: %w: choose a folder that this user may write", err)
	}
	db, err := store.OpenBeside(ctx, c.Data, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer db.Close()
	accounts, err := auth.NewLocal(ctx, db, c.Domain, c.Auth.Iterations)
	if err != nil {
		return err
	}
	switch verb := args[0]; verb {
	case "list":
		list, err := accounts.List(ctx)
		if err != nil {
			return err
		}
		for _, a := range list {
			state := ""
			if a.Disabled {
				state = "disabled"
			}
			fmt.Fprintln(out, strings.TrimSpace(strings.Join(append([]string{a.Localpart + "@" + c.Domain, state}, a.Aliases...), " ")))
		}
		return nil
	case "import":
		list, err := readAccounts(in)
		if err != nil {
			return err
		}
		if err := accounts.Import(ctx, list); err != nil {
			return err
		}
		fmt.Fprintln(out, len(list), "accounts imported")
		return nil
	case "add", "passwd":
		password, err := readPassword(in)
		if err != nil {
			return err
		}
		if verb == "add" {
			return accounts.Create(ctx, args[1], password, args[2:]...)
		}
		return accounts.SetPassword(ctx, args[1], password)
	case "disable", "enable":
		return accounts.Disable(ctx, args[1], verb == "disable")
	case "delete":
		return accounts.Delete(ctx, args[1])
	default:
		return fmt.Errorf("user: no command %q:\n%s", verb, userUsage)
	}
}

// readPassword takes one line, so that a password is never in the list of processes.
func readPassword(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("user: no password on standard input")
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
