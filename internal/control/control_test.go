package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo gives back what it is told, and the error that its first argument asks for.
func echo(_ context.Context, args []string, in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	_, _ = io.WriteString(out, strings.Join(args, "|")+" "+string(b))
	if args[0] == "fail" {
		return errors.New("it failed:\nwith two lines")
	}
	return nil
}

func TestCommands(t *testing.T) {
	ctx := t.Context()
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long/", 30))} {
		if ran, err := Run(ctx, dir, []string{"x"}, nil, io.Discard); ran || err != nil {
			t.Errorf("without a server: %v, %v", ran, err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, socketName), nil, 0o600); err != nil { // something was left over
			t.Fatal(err)
		}
		s, err := Serve(dir, echo, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, socketName)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		var out bytes.Buffer
		ran, err := Run(ctx, dir, []string{"say", "a b&c", ""}, strings.NewReader("pass\n"), &out)
		if !ran || err != nil || out.String() != "say|a b&c| pass\n" {
			t.Errorf("%v %v %q", ran, err, out.String())
		}
		out.Reset()
		ran, err = Run(ctx, dir, []string{"fail"}, nil, &out)
		if !ran || err == nil || err.Error() != "it failed:\nwith two lines" || out.String() != "fail " {
			t.Errorf("%v %v %q", ran, err, out.String())
		}
		s.Shutdown(ctx)
		if ran, err := Run(ctx, dir, []string{"x"}, nil, io.Discard); ran || err != nil {
			t.Errorf("after the server: %v, %v", ran, err)
		}
	}
}
