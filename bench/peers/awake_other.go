//go:build !linux

package peers

import (
	"errors"
	"io"
)

// Awake keeps CPUs from halting; on Linux only.
type Awake struct {
	How string
	PID int
}

var errAwake = errors.New("peers: CPUs are kept awake on Linux only; say -awake=false")

// KeepAwake is known on Linux only.
func KeepAwake([]string, []int) (*Awake, error) { return nil, errAwake }

// Stop does nothing.
func (*Awake) Stop() error { return nil }

// AwakeMain is known on Linux only.
func AwakeMain([]string, io.Reader) error { return errAwake }
