package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"konzil/internal/auth"
	"konzil/internal/control"
	"konzil/internal/logfile"
)

const ldapUsage = `konzil ldap [-config FILE] test NAME       explains each step of a login; with a password on standard input that is tried too
konzil ldap [-config FILE] sync [force]    reads the directory now: who has left is shut out, groups are as they are there`

// needInput are the commands that read standard input.
var needInput = []string{"user add", "user passwd", "user import", "ldap test"}

// operate carries out an operator's command in the running server, which then knows of it at once, or in one that is opened for it and
// serves nobody.
func operate(ctx context.Context, c Config, args []string, in io.Reader, out, errOut io.Writer) error {
	if len(args) < 2 || !slices.Contains(needInput, args[0]+" "+args[1]) {
		in = nil
	}
	if ran, err := control.Run(ctx, c.Data, args, in, out); ran || err != nil {
		return err
	}
	c.Log.Level, c.Proxy.Port = "warn", 0
	s := &server{cfg: c, log: logger(c.Log, logfile.Shortener{To: errOut})}
	defer s.stop()
	for _, step := range []func(context.Context) error{s.openData, s.openXMPP} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.command(ctx, args, in, out)
}

// command is one of operate.
func (s *server) command(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "user":
		return s.userCommand(ctx, args[1:], in, out)
	case len(args) > 0 && args[0] == "ldap":
		return s.ldapCommand(ctx, args[1:], in, out)
	case len(args) > 0 && args[0] == "ping":
		return s.pingCommand(ctx, args[1:], out)
	}
	return errors.New("this server does not know that command: is it the same program?")
}

// openControl takes operators' commands while the server runs.
func (s *server) openControl(context.Context) error {
	c, err := control.Serve(s.cfg.Data, s.command, s.log.With("part", "control"))
	if err != nil {
		return err
	}
	s.onStop(c.Shutdown)
	return nil
}

// ldapCommand is `konzil ldap`.
func (s *server) ldapCommand(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case s.directory == nil:
		return errors.New("ldap: there is no directory: set auth.ldap.urls")
	case len(args) == 2 && args[0] == "test":
		password, err := readPassword(in)
		if err != nil && !errors.Is(err, errNoPassword) {
			return err
		}
		if s.http != nil || s.focus != nil {
			fmt.Fprintln(out, "      asked of the running server, with the settings that it was started with")
		}
		return s.directory.Explain(ctx, out, args[1], password)
	case len(args) >= 1 && len(args) <= 2 && args[0] == "sync":
		r, err := s.people.Sync(ctx, len(args) == 2 && args[1] == "force")
		if errors.Is(err, auth.ErrManyLeft) || err == nil {
			fmt.Fprintf(out, "%d people, %d groups\n", r.People, r.Groups)
		}
		for _, l := range r.Left {
			fmt.Fprintln(out, "left:", l)
		}
		for _, l := range r.Expired {
			fmt.Fprintln(out, "deleted:", l)
		}
		return err
	}
	return errors.New("ldap: say what to do:\n" + ldapUsage)
}
