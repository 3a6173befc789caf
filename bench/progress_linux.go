package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// columns is the width of a terminal.
func columns(f *os.File) int {
	if s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && s.Col > 0 {
		return int(s.Col)
	}
	return lineWidth
}
