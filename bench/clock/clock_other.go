//go:build !linux

package clock

import (
	"errors"
	"io"
)

// Clock is none here: it needs futexes between processes.
type Clock struct{}

var errLinux = errors.New("clock: needs Linux (futex)")

// Run fails.
func (c *Clock) Run(func(string) []string, int) (int, func() error, error) { return 0, nil, errLinux }

func (c *Clock) newPlace() int { return -1 }

func (c *Clock) sleep(int, int64) {}

// Main fails.
func Main([]string, io.Reader) error { return errLinux }
