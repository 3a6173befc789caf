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

// Place is -1.
func (c *Clock) Place() int { return -1 }

// Sleep does nothing.
func (c *Clock) Sleep(int, int64) {}

// Main fails.
func Main([]string, io.Reader) error { return errLinux }
