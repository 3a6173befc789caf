//go:build !linux

package sfu

func runAsLoadServer() bool { return false }
