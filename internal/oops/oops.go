// Package oops makes errors for the operator: one line that says what is wrong and what to do about it. main prints such an
// error as it is and exits with status 1; anything else that reaches main is a defect or an outage and is printed with its
// whole chain.
package oops

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
)

// Error is a mistake that the operator can mend.
type Error struct {
	Where string // room or part: httpd, xmpp, certs
	What  string // what is wrong, with the file, address or setting by name
	Do    string // what to do; an imperative without full stop
	Err   error  // the cause for errors.Is, not printed
}

// Error gives `where: what: do` on one line.
func (e *Error) Error() string {
	s := e.Where + ": " + e.What
	if e.Do != "" {
		s += ": " + e.Do
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an operator error. cause may be nil.
func New(where, what, do string, cause error) *Error {
	return &Error{Where: where, What: what, Do: do, Err: cause}
}

// Is tells whether err is (or wraps) an operator error, and gives it.
func Is(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Listen turns the error of a bind or listen on addr into an operator error. setting is the name of the setting that chose
// addr, as the operator would write it (http.listen). It returns nil when err is nil.
//
// The wording does not depend on the operating system's own.
func Listen(where, addr, setting string, err error) error {
	if err == nil {
		return nil
	}
	what, do := addr+" cannot be opened ("+leaf(err)+")", "correct "+setting
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		what, do = addr+" is in use by another program", "stop it or set "+setting
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		what, do = addr+" may not be opened by this user", "give the program CAP_NET_BIND_SERVICE or set "+setting+" to a port above 1023"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		what, do = addr+" is not an address of this machine", "set "+setting+" to one of its addresses or to 0.0.0.0 or [::]"
	case errors.Is(err, syscall.EAFNOSUPPORT):
		what, do = addr+" is of an address family this machine does not have", "set "+setting+" to an address of the other family"
	}
	return New(where, what, do, err)
}

// File turns the error of opening or reading the file name into an operator error; do says what else to try. It returns nil
// when err is nil.
func File(where, name, do string, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("%s cannot be read (%s)", name, leaf(err))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what = name + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		what = name + " may not be read by this user"
	}
	return New(where, what, do, err)
}

// leaf is the innermost message: "listen tcp 1.2.3.4:5: bind: x" says no more than x once the address is named.
func leaf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return leaf(op.Err)
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return leaf(path.Err)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
