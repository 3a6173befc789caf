// Package clock lets the load engines wait for their times without timers of the kernel.
//
// The path of a waiting: the command line, which knows that the generator has CPUs to itself, calls Clock.Start; from then on an engine's
// goroutine that waits (Sleeper.Until) looks at the time until it has come, and Clock.Idle has grown by the CPU time of that. Package measure takes
// it off the generator's.
package clock
