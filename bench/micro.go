package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"konzil/bench/measure"
	"konzil/bench/report"
)

// microMain is `konzil bench micro OLD NEW`: two outputs of Go's micro-benchmarks, compared by medians and their intervals of confidence.
// It stands in where benchstat is not to be had. A difference is told when the intervals do not overlap.
func microMain(args []string, out io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(out, "usage: konzil bench micro OLD.txt NEW.txt")
		return 2
	}
	var sides [2]map[string][]float64
	var order []string
	for i, path := range args {
		f, err := os.Open(path)
		if err != nil {
			return fail(out, err)
		}
		var names []string
		sides[i], names, err = readMicro(f)
		_ = f.Close()
		if err != nil {
			return fail(out, err)
		}
		order = append(order, names...)
	}
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "benchmark\told\tnew\tnew/old\t")
	seen := map[string]bool{}
	for _, name := range order {
		a, b := measure.NewSpread(sides[0][name]), measure.NewSpread(sides[1][name])
		if seen[name] || a.N == 0 || b.N == 0 {
			continue
		}
		seen[name] = true
		verdict := "no difference shown"
		if a.High < b.Low || b.High < a.Low {
			verdict = "differs"
		}
		ratio := "-"
		if a.Median != 0 {
			ratio = fmt.Sprintf("%.3f", b.Median/a.Median)
		}
		fmt.Fprintf(w, "%s\t%s (%s–%s)\t%s (%s–%s)\t%s\t%s\n", name, report.Number(a.Median), report.Number(a.Low), report.Number(a.High), report.Number(b.Median), report.Number(b.Low),
			report.Number(b.High), ratio, verdict)
	}
	_ = w.Flush()
	return 0
}

// readMicro reads lines of the Go benchmark format: name, iterations, then pairs of value and unit. Names come in the order of the file.
func readMicro(in io.Reader) (values map[string][]float64, names []string, err error) {
	values = map[string][]float64{}
	pkg := ""
	sc := bufio.NewScanner(in)
	for sc.Scan() {
		if rest, ok := strings.CutPrefix(sc.Text(), "pkg: "); ok {
			pkg = strings.TrimPrefix(rest, "konzil/")
			continue
		}
		f := strings.Fields(sc.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				break // a log line that looks like a result
			}
			name := pkg + " " + strings.TrimPrefix(f[0], "Benchmark") + " " + f[i+1]
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			values[name] = append(values[name], v)
		}
	}
	return values, names, sc.Err()
}
