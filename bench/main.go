package bench

import (
	"fmt"
	"io"
)

const usage = `usage: konzil bench SCENARIO [flags]

scenarios:
  call   n participants in one meeting, as Jitsi clients: join times, delivery, latency, server CPU

konzil bench SCENARIO -h lists the flags.
`

// Main runs a scenario and returns the exit code: 0 fine, 1 the run failed or its gate was not passed, 2 bad arguments.
func Main(args []string, out io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(out, usage)
		return 2
	}
	switch args[0] {
	case "call":
		return callMain(args[1:], out)
	case "-h", "-help", "--help", "help":
		fmt.Fprint(out, usage)
		return 0
	}
	fmt.Fprintf(out, "bench: unknown scenario %q\n\n%s", args[0], usage)
	return 2
}
