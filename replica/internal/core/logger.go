package core

import (
	"fmt"
	"log/slog"
)

// logger passes raft's words on: what it tells of its own life is for debugging, what surprises it is a warning. Its
// panics are ends of the member; see Member.guard.
type logger struct{ l *slog.Logger }

func (l logger) Debug(...any)                {}
func (l logger) Debugf(string, ...any)       {}
func (l logger) Info(v ...any)               { l.log(slog.LevelDebug, fmt.Sprint(v...)) }
func (l logger) Infof(f string, v ...any)    { l.logf(slog.LevelDebug, f, v) }
func (l logger) Warning(v ...any)            { l.log(slog.LevelDebug, fmt.Sprint(v...)) }
func (l logger) Warningf(f string, v ...any) { l.logf(slog.LevelDebug, f, v) }
func (l logger) Error(v ...any)              { l.log(slog.LevelWarn, fmt.Sprint(v...)) }
func (l logger) Errorf(f string, v ...any)   { l.logf(slog.LevelWarn, f, v) }
func (l logger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (l logger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }

func (l logger) logf(level slog.Level, f string, v []any) {
	if l.l != nil && l.l.Enabled(nil, level) { //nolint:staticcheck // raft has no context to give
		l.log(level, fmt.Sprintf(f, v...))
	}
}

func (l logger) log(level slog.Level, text string) {
	if l.l != nil {
		l.l.Log(nil, level, text) //nolint:staticcheck // as above
	}
}
