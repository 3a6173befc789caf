package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"konzil/bench/measure"
	"konzil/bench/peers"
	"konzil/bench/report"
	"konzil/bench/sfu"
)

// scenarios are the loads that there are, in the order of the usage.
func scenarios() []measure.Scenario {
	return []measure.Scenario{sfu.Scenario(), turnScenario(), xmppScenario(), callScenario()}
}

// Main runs a scenario and returns the exit code: 0 fine, 1 the run failed or its gates were not kept, 2 bad arguments.
func Main(args []string, out io.Writer) int {
	if len(args) == 0 {
		usage(out)
		return 2
	}
	all := scenarios()
	if i := slices.IndexFunc(all, func(s measure.Scenario) bool { return s.Name == args[0] }); i >= 0 {
		return scenarioMain(all[i], args[1:], out)
	}
	switch args[0] {
	case "echo": // the null relay's own process, see measure.NullRelay
		if len(args) == 2 {
			if err := measure.EchoMain(args[1], os.Stdin, out); err != nil {
				return fail(out, err)
			}
			return 0
		}
	case "awake": // keeps CPUs from halting, see peers.Awake
		if err := peers.AwakeMain(args[1:], os.Stdin); err != nil {
			return fail(out, err)
		}
		return 0
	case "report":
		return reportMain(args[1:], out)
	case "micro":
		return microMain(args[1:], out)
	case "servers":
		return serversMain(out)
	case "-h", "-help", "--help", "help":
		usage(out)
		return 0
	}
	fmt.Fprintf(out, "bench: unknown scenario %q\n\n", args[0])
	usage(out)
	return 2
}

func usage(out io.Writer) {
	fmt.Fprint(out, "usage: konzil bench SCENARIO [flags]\n\nscenarios:\n")
	for _, s := range scenarios() {
		fmt.Fprintf(out, "  %-8s %s\n", s.Name, s.Summary)
	}
	fmt.Fprint(out, `
further:
  servers  which servers can be started here, and how to get the others
  micro    OLD.txt NEW.txt: compare two outputs of Go micro-benchmarks
  report   FILE.json [-html FILE]: show a stored report again, or make a page of it

konzil bench SCENARIO -h lists the flags. The method is in docs/bench.md.
`)
}

func fail(out io.Writer, err error) int {
	fmt.Fprintln(out, "bench:", err)
	return 1
}

// scenarioMain is `konzil bench NAME`.
func scenarioMain(s measure.Scenario, args []string, out io.Writer) int {
	o := newOptions(s, out)
	plan, err := o.parse(args)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		if !errors.Is(err, errShown) {
			fmt.Fprintln(out, "bench:", err)
		}
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := o.config(plan, append([]string{"konzil", "bench", s.Name}, args...))
	if err != nil {
		fmt.Fprintln(out, "bench:", err)
		return 2
	}
	sleep, err := o.keepAwake(plan, &cfg)
	if err != nil {
		return fail(out, err)
	}
	line := newProgress(out, o.progress)
	cfg.Progress = line.tell
	r, err := measure.Run(ctx, cfg)
	err = errors.Join(err, sleep())
	line.end()
	if err == nil || len(r.Rounds) > 0 {
		report.Text(out, r)
	}
	if werr := o.write(r, out); werr != nil {
		return fail(out, werr)
	}
	if err != nil {
		return fail(out, err)
	}
	if len(r.Failed) > 0 {
		return 1
	}
	return 0
}

// write stores the report as the flags say.
func (o *options) write(r *measure.Report, out io.Writer) error {
	for _, f := range []struct {
		path  string
		write func(io.Writer) error
	}{{o.jsonPath, r.WriteJSON}, {o.htmlPath, func(w io.Writer) error { return report.HTML(w, r) }}} {
		if err := writeTo(f.path, out, f.write); err != nil {
			return err
		}
	}
	return nil
}

// writeTo writes to a file; "-" is out, "" is nowhere.
func writeTo(path string, out io.Writer, write func(io.Writer) error) error {
	switch path {
	case "":
		return nil
	case "-":
		return write(out)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// reportMain is `konzil bench report`.
func reportMain(args []string, out io.Writer) int {
	fs := flag.NewFlagSet("konzil bench report", flag.ContinueOnError)
	fs.SetOutput(out)
	html := fs.String("html", "", "write a page to this file, - for the output")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	files := fs.Args()
	if len(files) > 1 { // flags after the file
		if err := fs.Parse(files[1:]); err != nil || fs.NArg() > 0 {
			return 2
		}
		files = files[:1]
	}
	if len(files) != 1 {
		fmt.Fprintln(out, "usage: konzil bench report FILE.json [-html FILE]")
		return 2
	}
	f, err := os.Open(files[0])
	if err != nil {
		return fail(out, err)
	}
	defer f.Close()
	r, err := measure.ReadJSON(f)
	if err != nil {
		return fail(out, err)
	}
	if *html == "" {
		report.Text(out, r)
		return 0
	}
	if err := writeTo(*html, out, func(w io.Writer) error { return report.HTML(w, r) }); err != nil {
		return fail(out, err)
	}
	return 0
}

// serversMain is `konzil bench servers`.
func serversMain(out io.Writer) int {
	for _, p := range peers.All() {
		state := "can be started"
		if p.Missing != nil {
			if err := p.Missing(); err != nil {
				state = "is not here; to get it: " + p.Get
			}
		}
		fmt.Fprintf(out, "%-10s %-14s %s\n", p.Name, p.Serves, state)
		for _, k := range slices.Sorted(maps.Keys(p.Settings)) {
			fmt.Fprintf(out, "%12s %s:%s=...  %s\n", "", p.Name, k, p.Settings[k])
		}
	}
	return 0
}

// ownCommand is this program with a command of its own, nil when it is none that has Main.
func ownCommand(name string) []string {
	exe, err := os.Executable()
	if err != nil || !isKonzil() {
		return nil
	}
	return []string{exe, "bench", name}
}

func startPinned(cpus []int) func(*exec.Cmd) error {
	return func(c *exec.Cmd) error { return peers.StartPinned(c, cpus) }
}

// words joins with commas.
func words(s []string) string { return strings.Join(s, ", ") }
