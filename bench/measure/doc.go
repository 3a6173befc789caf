// Package measure is what every load of the bench has in common: the terms in which a load and a server are described, and the driver
// that measures one with the other.
//
// A Load (load.go) brings traffic to a server over real sockets and counts what came of it. A Target (target.go) is the server: its
// addresses and its processes. What a load counted in one measured interval is a Sample (sample.go). A Scenario (scenario.go) is a load as
// the command line knows it; its Plan is what one run does.
//
// The path of a run, in the goroutine of Run where nothing else is said:
//
//  1. Run (driver.go) lets the servers take turns: A B A B ...; or ramp (ramp.go) takes one after another through growing scales.
//  2. A round starts the server (Server.Start), lets the null relay measure the path without a server (null.go), makes the load, reads the
//     server's memory, and prepares the load.
//  3. Load.Measure runs once for warming up, and once for each interval. Meanwhile the sampler (sampler.go, a goroutine of its own) reads
//     the CPU clocks and memory of the server, of the generator and of the machine each second (usage.go).
//  4. figures.go makes figures of the readings and the Sample; gates.go decides whether the interval counts.
//  5. summary.go takes medians and spreads (stats.go) over the rounds, divides servers' figures round by round, and gathers what failed.
//  6. The Report (report.go) is the result, and is what -json writes. Package report makes tables and HTML of it.
package measure
