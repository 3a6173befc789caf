// Package clock wakes the load engines at their times without timers of the kernel: `konzil bench clock` is the process that looks at the time.
//
// The path of a waking: Clock.Run makes memory that both processes have; a sleeper writes its time into its place and waits by a futex
// (Sleeper.Until); Main, which does nothing else than to look at the time and at all places, sees that it has come and wakes it.
package clock
