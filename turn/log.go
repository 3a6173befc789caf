package turn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// loggers gives pion/turn its logs. What it calls an error is mostly a client's: debug for us. Its messages per packet, trace and debug,
// are not even formatted.
type loggers struct{ log *slog.Logger }

func (l loggers) NewLogger(string) logging.LeveledLogger { return leveled(l) }

type leveled struct{ log *slog.Logger }

func (leveled) Trace(string)          {}
func (leveled) Tracef(string, ...any) {}
func (leveled) Debug(string)          {}
func (leveled) Debugf(string, ...any) {}

func (l leveled) Info(msg string)               { l.debug("%s", msg) }
func (l leveled) Infof(format string, a ...any) { l.debug(format, a...) }
func (l leveled) Warn(msg string)               { l.debug("%s", msg) }
func (l leveled) Warnf(format string, a ...any) { l.debug(format, a...) }
func (l leveled) Error(msg string)              { l.debug("%s", msg) }
func (l leveled) Errorf(f string, a ...any)     { l.debug(f, a...) }

func (l leveled) debug(format string, a ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pion/turn: " + fmt.Sprintf(format, a...))
	}
}
