//go:build !linux

package sfu

import "net"

// limitUnsent is only known to Linux.
func limitUnsent(*net.TCPConn) {}
