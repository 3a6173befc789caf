package bench

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"konzil/bench/measure"
	"konzil/bench/report"
)

// progress shows what happens: one line that rewrites itself on a terminal, else a line for each change of stage.
type progress struct {
	out   io.Writer
	mode  string     // line, plain, none
	width func() int // of a line, in characters

	mu   sync.Mutex // guards all below
	last string     // plain: the stage shown last
	at   time.Time  // when a line was shown last
	open bool       // line: there is a line to be cleared
}

// plainEvery is how often a stage shows its figures without a terminal.
const plainEvery = 5 * time.Second

func newProgress(out io.Writer, mode string) *progress {
	if mode == "auto" {
		mode = "plain"
		if f, ok := out.(*os.File); ok {
			if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
				mode = "line"
			}
		}
	}
	width := func() int { return lineWidth }
	if f, ok := out.(*os.File); ok {
		width = func() int { return columns(f) }
	}
	return &progress{out: out, mode: mode, width: width}
}

func (p *progress) tell(x measure.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.mode {
	case "line":
		fmt.Fprint(p.out, "\r\x1b[K"+clip(progressText(x), p.width()))
		p.open = true
	case "plain":
		stage := fmt.Sprint(x.Server, x.Round, x.Scale, x.Stage)
		if now := time.Now(); stage != p.last || now.Sub(p.at) >= plainEvery {
			p.last, p.at = stage, now
			fmt.Fprintln(p.out, progressText(x))
		}
	}
}

// end clears the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.open = false
	}
}

// lineWidth is that of a terminal that does not tell.
const lineWidth = 80

// clip leaves what fits into a line and one place for the cursor: a longer one would wrap, and could not be rewritten.
func clip(s string, width int) string {
	if r := []rune(s); len(r) >= width {
		return string(r[:max(width-1, 0)])
	}
	return s
}

func progressText(x measure.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s round %d/%d", x.Server, x.Round, max(x.Round, x.Rounds))
	if x.Scale > 0 {
		fmt.Fprintf(&b, " scale %d", x.Scale)
	}
	fmt.Fprintf(&b, "  %s", x.Stage)
	if x.Text != "" {
		fmt.Fprintf(&b, ": %s", x.Text)
	}
	if x.Stage == "measure" {
		fmt.Fprintf(&b, " %d/%s  %s %s/s of %s  CPU: server %.2f, generator %.2f  %s", int(x.At.Seconds()+0.5), x.Of,
			report.Number(x.Delivered), x.Unit, report.Number(x.Sent), x.ServerCPU, x.GeneratorCPU, report.Bytes(x.RSS))
	}
	for i, name := range slices.Sorted(maps.Keys(x.SoFar)) {
		if i == 0 {
			b.WriteString("  so far, per CPU-s:")
		}
		fmt.Fprintf(&b, " %s %s", name, report.Number(x.SoFar[name]))
	}
	return b.String()
}
