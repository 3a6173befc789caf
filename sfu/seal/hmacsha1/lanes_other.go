//go:build !amd64

package hmacsha1

// width is how many packets go side by side.
const width = 16

// Accelerated reports that this processor has what the assembly needs.
func Accelerated() bool { return false }

type lanes struct{}

func (*Tags) together([]uint8) { panic("hmacsha1: not on this processor") }
