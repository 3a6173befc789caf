package prefetch

import "unsafe"

// Lines asks for n cache lines from p on. It may point anywhere: what is not mapped is ignored.
//
//go:noescape
func Lines(p unsafe.Pointer, n int)
