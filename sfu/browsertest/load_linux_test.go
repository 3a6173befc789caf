package browsertest

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// What makes a row worthless: both browsers and the server are on this machine, and what it does besides costs pictures, too.
const (
	cameraRate = 20.0 // pictures a second that Chromium's made camera gives
	enoughRate = 0.93 // share of them that an idle machine shows and encodes
	mostStolen = 0.02 // share of the processors' time that went to other machines
	mostGap    = time.Second
)

// load is how busy the machine was with other things during a row.
type load struct {
	before      float64 // pictures a second that the watcher saw before
	encoded     int
	pictures    int // that the publisher encoded meanwhile,
	took        time.Duration
	rate        float64 // and how many a second
	stolen, all float64 // of the processors' time
	at, from    time.Time
	gap         time.Duration // longest between two looks
}

func (l *load) start(encoded int) {
	l.encoded, l.from, l.at = encoded, time.Now(), time.Now()
	l.stolen, l.all = processors()
}

// look is called each 250 ms.
func (l *load) look() {
	l.gap, l.at = max(l.gap, time.Since(l.at)), time.Now()
}

func (l *load) end(encoded int) {
	l.pictures, l.took = encoded-l.encoded, time.Since(l.from)
	l.rate = float64(l.pictures) / l.took.Seconds()
	stolen, all := processors()
	l.stolen, l.all = stolen-l.stolen, all-l.all
}

// String is empty when the row counts.
func (l load) String() string {
	var why []string
	if l.before < enoughRate*cameraRate {
		why = append(why, fmt.Sprintf("%.1f pictures a second before", l.before))
	}
	if l.rate < enoughRate*cameraRate {
		why = append(why, fmt.Sprintf("%.1f encoded", l.rate))
	}
	if l.all > 0 && l.stolen > mostStolen*l.all {
		why = append(why, fmt.Sprintf("%.0f %% stolen", 100*l.stolen/l.all))
	}
	if l.gap > mostGap {
		why = append(why, fmt.Sprintf("stood still for %.1f s", l.gap.Seconds()))
	}
	if len(why) == 0 {
		return ""
	}
	return "UNUSABLE, busy: " + strings.Join(why, ", ")
}

// processors reads proc_stat(5): the time that was stolen, and all time, of all processors together.
func processors() (stolen, all float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		var v float64
		if _, err := fmt.Sscan(f, &v); err != nil || i > 8 { // guest times are in user's
			continue
		}
		all += v
		if i == 8 {
			stolen = v
		}
	}
	return stolen, all
}
