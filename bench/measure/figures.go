package measure

import (
	"time"
)

// Names of the figures that the driver computes for every round. A load's own (Sample.Figures) stand beside them.
const (
	PerCPUSecond   = "per_cpu_s"       // deliveries per second of server CPU
	CPUPerUnit     = "ns_per_unit"     // server CPU time per delivery, ns
	PerSecond      = "per_s"           // deliveries per second
	SentPerSecond  = "sent_per_s"      // units that the generator sent, per second
	Mbps           = "mbit_per_s"      // of what was delivered
	Delivery       = "delivery"        // delivered / expected
	ServerCPU      = "server_cpu"      // CPU seconds per second
	ServerUser     = "server_user"     // share of user time in it, 0..1
	GeneratorCPU   = "generator_cpu"   // CPU seconds per second
	GeneratorShare = "generator_share" // of the CPUs that it may use, 0..1
	GeneratorRatio = "generator_ratio" // generator's CPU / server's CPU
	GeneratorOwn   = "generator_own"   // the same less softirq on the generator's own CPUs: what loopback makes it do for the server; where that is enough to be told
	OthersCPU      = "others_cpu"      // all other programs, CPU seconds per second
	SoftIRQ        = "softirq_cpu"     // whole machine, CPU seconds per second; part of it is in the servers' system time
	Steal          = "steal_cpu"       // taken by the hypervisor, CPU seconds per second
	MemoryPerScale = "memory_kb"       // PSS (RSS when unknown) at the end of measuring above that before the load, KiB per unit of scale
	IdleMemory     = "idle_memory_mb"  // PSS (RSS when unknown) before the load, MiB
	PrepareCPU     = "prepare_cpu_ms"  // server CPU time to prepare one unit of scale, ms
)

// softirqLeast is how much softirq time an interval must have for it to mean something: the kernel tells it in units of 10 ms, by looking at each tick.
const softirqLeast = 200 * time.Millisecond

// interval is what the driver read around one measured interval.
type interval struct {
	first, last reading
	sample      *Sample
	generators  int // CPUs that the generator may use
}

// figures computes what the constants above name.
func (iv *interval) figures() map[string]float64 {
	s := iv.sample
	f := make(map[string]float64, 16+len(s.Figures))
	for k, v := range s.Figures {
		f[k] = v
	}
	wall := iv.last.at.Sub(iv.first.at).Seconds()
	if wall <= 0 || s.Elapsed <= 0 {
		return f
	}
	cpu := (iv.last.server.CPU - iv.first.server.CPU).Seconds()
	own := (iv.last.own - iv.first.own).Seconds()
	m0, m1 := iv.first.machine, iv.last.machine
	f[PerSecond] = float64(s.Delivered) / s.Elapsed.Seconds()
	f[SentPerSecond] = float64(s.Sent) / s.Elapsed.Seconds()
	f[Mbps] = float64(s.Bytes) * 8 / 1e6 / s.Elapsed.Seconds()
	f[Delivery] = deliveryOf(s)
	f[GeneratorCPU] = own / wall
	f[GeneratorShare] = own / wall / float64(max(iv.generators, 1))
	f[SoftIRQ] = (m1.softirq - m0.softirq).Seconds() / wall
	f[Steal] = (m1.steal - m0.steal).Seconds() / wall
	f[OthersCPU] = max((m1.busy-m0.busy).Seconds()-cpu-own, 0) / wall
	if cpu > 0 {
		f[ServerCPU] = cpu / wall
		f[GeneratorRatio] = own / cpu
		if soft := m1.own - m0.own; soft >= softirqLeast {
			f[GeneratorOwn] = max(own-soft.Seconds(), 0) / cpu
		}
		f[PerCPUSecond] = float64(s.Delivered) / cpu
		if s.Delivered > 0 {
			f[CPUPerUnit] = cpu * 1e9 / float64(s.Delivered)
		}
		user, sys := iv.last.server.User-iv.first.server.User, iv.last.server.System-iv.first.server.System
		if user+sys > 0 {
			f[ServerUser] = float64(user) / float64(user+sys)
		}
	}
	return f
}

// deliveryOf is delivered / expected; a little more than all, from edges of the interval, is all.
func deliveryOf(s *Sample) float64 {
	if s.Expected == 0 {
		return 0
	}
	return min(float64(s.Delivered)/float64(s.Expected), 1)
}

func (m *Memory) figures(f map[string]float64, scale int) {
	// What is there right after many have joined is mostly the garbage of joining.
	idle, loaded := m.IdlePSS, m.EndPSS
	if idle == 0 || loaded == 0 {
		idle, loaded = m.IdleRSS, m.EndRSS
	}
	if idle == 0 {
		return
	}
	f[IdleMemory] = float64(idle) / (1 << 20)
	if scale > 0 {
		f[MemoryPerScale] = float64(loaded-idle) / 1024 / float64(scale)
		f[PrepareCPU] = m.PrepareCPU * 1000 / float64(scale)
	}
}

// reading is all counters at one moment.
type reading struct {
	pos             position
	at              time.Time
	server          Usage
	own             time.Duration
	machine         machineTimes
	sent, delivered uint64
}

// at interpolates between readings: counters at a moment that lies between two of them.
func readingAt(rs []reading, t time.Time) reading {
	if !t.After(rs[0].at) {
		return rs[0]
	}
	for i := 1; i < len(rs); i++ {
		a, b := rs[i-1], rs[i]
		if t.After(b.at) {
			continue
		}
		share := float64(t.Sub(a.at)) / float64(b.at.Sub(a.at))
		mid := func(x, y time.Duration) time.Duration { return x + time.Duration(float64(y-x)*share) }
		r := reading{pos: between, at: t, own: mid(a.own, b.own), server: b.server}
		r.server.CPU, r.server.User, r.server.System = mid(a.server.CPU, b.server.CPU), mid(a.server.User, b.server.User), mid(a.server.System, b.server.System)
		r.machine = machineTimes{mid(a.machine.busy, b.machine.busy), mid(a.machine.softirq, b.machine.softirq), mid(a.machine.steal, b.machine.steal), mid(a.machine.own, b.machine.own)}
		return r
	}
	return rs[len(rs)-1]
}

// series makes points of readings, but of those that are mostly of the time after an end: what is then under way is awaited.
func series(rs []reading, end time.Time) []Point {
	var out []Point
	for i := 1; i < len(rs); i++ {
		a, b := rs[i-1], rs[i]
		sec := b.at.Sub(a.at).Seconds()
		if sec < minPoint.Seconds() {
			continue // the last, cut short: rates of it would be noise
		}
		if i > 1 && end.Sub(a.at) < b.at.Sub(end) {
			continue
		}
		per := func(d time.Duration) float64 { return d.Seconds() / sec }
		p := Point{T: b.at.Sub(rs[0].at).Seconds(), CPU: per(b.server.CPU - a.server.CPU), User: per(b.server.User - a.server.User),
			System: per(b.server.System - a.server.System), Generator: per(b.own - a.own), RSS: b.server.RSS,
			Sent: float64(b.sent-a.sent) / sec, Delivered: float64(b.delivered-a.delivered) / sec}
		p.Others = max(per(b.machine.busy-a.machine.busy)-p.CPU-p.Generator, 0)
		out = append(out, p)
	}
	return out
}

// minPoint is the shortest time that becomes a point of a series.
const minPoint = 200 * time.Millisecond
