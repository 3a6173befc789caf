// Package browsertest holds the test of package sfu against headless Chromium. It has no code of its own: the test stands
// apart because a browser's driver leaves goroutines of its own behind.
package browsertest
