package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"konzil/bench"
	"konzil/internal/conf"
	"konzil/internal/specs"
)

const usage = `konzil: chat, rooms and video meetings in one program

  konzil [-config FILE]             serve (the default)
  konzil bridge -config FILE        run the bridge alone, for a focus elsewhere (settings: bridge, media, http)
  konzil check [-config FILE]       print the DNS records to set; look at DNS, certificate, ports, directory and say what is wrong;
                                    with the name of another server: exchange a ping with it; with the word config: read the file alone
  konzil config                     print the whole configuration with its documentation
  konzil user [-config FILE] ...    list, add, invite, passwd, disable, enable, delete, tokens of, export and import accounts
  konzil ldap [-config FILE] ...    test a login of the directory step by step, read it now
  konzil bench ...                  load for servers: konzil bench -h
  konzil doap                       print which specifications are implemented, for machines (XEP-0453)
  konzil version
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if code == restartCode {
		if file, err := os.Executable(); err == nil {
			fmt.Fprintln(os.Stderr, "konzil:", syscall.Exec(file, os.Args, os.Environ())) // it returns only when it fails
		}
		code = 1
	}
	os.Exit(code)
}

// restartCode is what run returns to be started anew, as the same process: whoever supervises it sees nothing of that.
const restartCode = 64

// run is main without the process: it returns the exit code (0 fine, 1 failed, 2 wrong use).
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) > 0 && args[0] == "bench" {
		return bench.Main(args[1:], out)
	}
	command, file, rest, err := commandLine(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	switch command {
	case "serve", "bridge", "check", "user", "ldap":
		var c Config
		if c, err = loadConfig(file); err != nil {
			break
		}
		switch command {
		case "bridge":
			err = serveBridge(ctx, c, out, errOut)
		case "check":
			err = checkup(ctx, c, rest, out)
		case "user", "ldap":
			err = operate(ctx, c, append([]string{command}, rest...), in, out, errOut)
		default:
			go keepMemory(ctx)
			err = serve(ctx, c, file == "", out, errOut)
		}
	case "config":
		fmt.Fprint(out, conf.Describe(DefaultConfig()))
	case "doap":
		var doc []byte
		if doc, err = doap(); err == nil {
			_, err = out.Write(doc)
		}
	case "version":
		fmt.Fprintln(out, version())
	case "help":
		fmt.Fprint(out, usage)
	default:
		fmt.Fprintf(errOut, "konzil: no command %q\n\n%s", command, usage)
		return 2
	}
	if errors.Is(err, errRestart) {
		return restartCode
	}
	if err != nil {
		fmt.Fprintln(errOut, "konzil:", err)
		return 1
	}
	return 0
}

// commandLine takes arguments apart: the command (serve when none is named), which may stand before or behind -config FILE, and what follows. It says itself,
// on errOut, what is wrong with them.
func commandLine(args []string, errOut io.Writer) (command, file string, rest []string, err error) {
	flags := flag.NewFlagSet("konzil", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() { fmt.Fprint(errOut, usage) }
	flags.StringVar(&file, "config", "", "YAML file of settings")
	command = "serve"
	if err = flags.Parse(args); err == nil && flags.NArg() > 0 {
		command = flags.Arg(0)
		err = flags.Parse(flags.Args()[1:])
	}
	if err != nil {
		return command, file, nil, err
	}
	rest = flags.Args()
	if takes := command == "check" || command == "user" || command == "ldap"; !takes && len(rest) > 0 {
		err = fmt.Errorf("konzil %s: %q is too much", command, rest[0])
		fmt.Fprintf(errOut, "%v\n\n%s", err, usage)
	}
	return command, file, rest, err
}

// doap describes the program to machines (XEP-0453).
func doap() ([]byte, error) {
	all, err := specs.All()
	if err != nil {
		return nil, err
	}
	return specs.DOAP(all)
}

// version is the version of the module, or its commit.
func version() string {
	v := "konzil (devel)"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v = "konzil " + info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
