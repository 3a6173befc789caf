package keying

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// Logs lets pion's modules log to slog at debug level: their warnings are about the peer's doings.
type Logs struct{ Log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (p Logs) NewLogger(scope string) logging.LeveledLogger { return pionLog{p.Log, scope} }

type pionLog struct {
	log   *slog.Logger
	scope string
}

func (p pionLog) say(msg string) {
	p.log.Debug(msg, "module", p.scope)
}

func (p pionLog) sayf(format string, args ...any) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug(fmt.Sprintf(format, args...), "module", p.scope)
	}
}

func (p pionLog) Trace(string)              {}
func (p pionLog) Tracef(string, ...any)     {}
func (p pionLog) Debug(m string)            { p.say(m) }
func (p pionLog) Debugf(f string, a ...any) { p.sayf(f, a...) }
func (p pionLog) Info(m string)             { p.say(m) }
func (p pionLog) Infof(f string, a ...any)  { p.sayf(f, a...) }
func (p pionLog) Warn(m string)             { p.say(m) }
func (p pionLog) Warnf(f string, a ...any)  { p.sayf(f, a...) }
func (p pionLog) Error(m string)            { p.say(m) }
func (p pionLog) Errorf(f string, a ...any) { p.sayf(f, a...) }
