package embed

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge hands etcd's log to a slog.Logger, warnings and errors only.
type bridge struct {
	logger *slog.Logger
	fields []zapcore.Field

	last     *lastError
	stopping *atomic.Bool // what etcd says then of its listeners is no error
}

// lastError is what was logged before a panic, which itself does not say what was wrong.
type lastError struct {
	mu   sync.Mutex
	text string
}

func newBridge(logger *slog.Logger) *bridge {
	return &bridge{logger: logger, last: &lastError{}, stopping: new(atomic.Bool)}
}

// chosen are warnings of what is so on purpose.
var chosen = []string{
	"Running http and grpc server on single port. This is not recommended for production.", // little HTTP is spoken
	"simple token is not cryptographically signed",                                         // there are no users, and so no tokens
}

// zap returns the logger for etcd. Its Fatal, which would end the process, panics instead.
func (b *bridge) zap() *zap.Logger {
	return zap.New(b, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// Enabled implements zapcore.LevelEnabler.
func (b *bridge) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{logger: b.logger, fields: slices.Concat(b.fields, fields), last: b.last, stopping: b.stopping}
}

// Check implements zapcore.Core.
func (b *bridge) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(entry.Level) && !slices.Contains(chosen, entry.Message) &&
		(!b.stopping.Load() || entry.Level > zapcore.ErrorLevel) {
		return checked.AddCore(entry, b)
	}
	return checked
}

// Write implements zapcore.Core.
func (b *bridge) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	all := slices.Concat(b.fields, fields)
	attrs := make([]slog.Attr, 0, len(all))
	for _, f := range all {
		f.AddTo(enc)
	}
	for _, f := range all {
		if v, ok := enc.Fields[f.Key]; ok {
			attrs = append(attrs, slog.Any(f.Key, v))
		}
	}
	if err, ok := enc.Fields["error"].(string); ok && err == "cannot detect storage schema version: missing term information" || err == "missing term information" {
		return nil // a database that has just been made; etcd tries again
	}
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	if entry.Level > zapcore.ErrorLevel {
		b.last.mu.Lock()
		b.last.text = entry.Message
		if v, ok := enc.Fields["error"]; ok {
			b.last.text += fmt.Sprintf(": %v", v)
		}
		b.last.mu.Unlock()
	}
	b.logger.LogAttrs(context.Background(), level, entry.Message, attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (b *bridge) Sync() error { return nil }

// reason explains a panic of etcd.
func (b *bridge) reason(v any) string {
	b.last.mu.Lock()
	defer b.last.mu.Unlock()
	if b.last.text != "" {
		return b.last.text
	}
	return fmt.Sprint(v)
}
