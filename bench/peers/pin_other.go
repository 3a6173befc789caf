//go:build !linux

package peers

import (
	"errors"
	"os/exec"
	"runtime"
)

var errPin = errors.New("peers: CPUs can be chosen on Linux only")

// StartPinned starts cmd; CPUs can be chosen on Linux only.
func StartPinned(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) > 0 {
		return errPin
	}
	return cmd.Start()
}

// PinSelf is known on Linux only.
func PinSelf(cpus []int) error {
	if len(cpus) > 0 {
		return errPin
	}
	return nil
}

// Allowed is all CPUs.
func Allowed() []int {
	out := make([]int, runtime.NumCPU())
	for i := range out {
		out[i] = i
	}
	return out
}
