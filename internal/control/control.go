// Package control lets a command of the same program act inside the running server: an operator's `konzil user delete` ends sessions that
// only the server knows of.
//
// The path of a command: Run (in the command's process) connects to the socket in the data folder → POST with the arguments in the URL and
// standard input as the body → serve (a goroutine of net/http for each) runs the command with the output going straight into the
// answer → its error comes as a trailer. The folder is its owner's alone (0700), and so is the socket.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	socketName = "konzil.sock"
	errTrailer = "Konzil-Error"

	// maxPath is the longest path that fits into a socket's address (sys/un.h: 108 bytes with the final NUL).
	maxPath = 107
)

// Command does what args ask for.
type Command func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

// Server takes commands.
type Server struct {
	http http.Server
	dir  *os.File // nil unless the path is too long for a socket
	done chan struct{}
}

// Serve takes commands for the data folder dir until Shutdown.
func Serve(dir string, run Command, log *slog.Logger) (*Server, error) {
	s := &Server{done: make(chan struct{})}
	name := filepath.Join(dir, socketName)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) { // of a server that was killed: the folder is locked
		return nil, err
	}
	address, folder, err := address(dir)
	if err != nil {
		return nil, err
	}
	s.dir = folder
	ln, err := net.Listen("unix", address)
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err != nil {
		s.closeDir()
		return nil, fmt.Errorf("control: %w", err)
	}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, run) })
	s.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("commands are not taken any more", "err", err)
		}
	}()
	return s, nil
}

// address is that of the socket in dir: by its path, or by the open folder where the path is too long.
func address(dir string) (string, *os.File, error) {
	name := filepath.Join(dir, socketName)
	if len(name) <= maxPath {
		return name, nil, nil
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("control: %w", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) + "/" + socketName, f, nil
}

func serve(w http.ResponseWriter, r *http.Request, run Command) {
	w.Header().Set("Trailer", errTrailer)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := run(r.Context(), r.URL.Query()["arg"], r.Body, w); err != nil {
		w.Header().Set(errTrailer, url.QueryEscape(err.Error()))
	}
}

// Shutdown refuses new commands, lets those under way end until ctx does, and takes the socket away.
func (s *Server) Shutdown(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
	s.closeDir()
}

func (s *Server) closeDir() {
	if s.dir != nil {
		_ = s.dir.Close() // opened for reading
	}
}

// Run has the server of the data folder dir carry out a command; ran is false when none is running. in may be nil.
func Run(ctx context.Context, dir string, args []string, in io.Reader, out io.Writer) (ran bool, err error) {
	address, folder, err := address(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if folder != nil {
		defer func() { _ = folder.Close() }()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("control: %w", err)
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://konzil/?"+url.Values{"arg": args}.Encode(), in)
	if err != nil {
		return true, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return true, fmt.Errorf("control: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(out, answer.Body); err != nil {
		return true, fmt.Errorf("control: the server ended before the command: %w", err)
	}
	if text := answer.Trailer.Get(errTrailer); text != "" {
		if text, err = url.QueryUnescape(text); err != nil {
			return true, err
		}
		return true, errors.New(text)
	}
	return true, nil
}
