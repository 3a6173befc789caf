// Package peers starts the servers that the bench compares, each with a configuration that a careful operator would run in production,
// in a temporary folder and on ports that the kernel chose.
//
// The path of Start:
//
//  1. Start (peers.go) looks the name up in All and makes a temporary folder.
//  2. The peer's own file (konzil.go, prosody.go, ...) writes the configuration, makes accounts, and runs the program (process.go), on the
//     CPUs of Options (pin_linux.go). A program that is not there gives an error that says how to get it.
//  3. It waits until the server answers (ready, process.go) and gives a measure.Target. Target.Stop ends the program and removes the folder.
//
// Goroutines: one for each program, which waits for its end.
package peers
