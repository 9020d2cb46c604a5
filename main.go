package holdfast

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes of Main.
const (
	exitClean    = 0
	exitFailure  = 1
	exitSettings = 2
)

// Main runs svc until SIGTERM or SIGINT, which makes it drain, and exits the process: with 0 after a clean stop, 1 after a
// failure, 2 when the environment's settings are wrong, which it says on standard error, a line for each. A second
// signal exits at once, with 1. That nobody reads the process's output any more does not end it. Main is the last line
// of a main function, and does not return.
func Main(svc *Service) {
	// In "service 2>&1 | tee FILE" a Ctrl-C ends tee, too, and the next record of the log would end this process before it
	// has drained. Asked for, the signal comes here, and the record is lost.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(svc.main(signals))
}

// main leaves the goroutine that takes signals behind: only the end of the process is the end of it, so that a second
// signal counts whatever else hangs, such as a log that nobody reads on.
func (s *Service) main(signals <-chan os.Signal) (code int) {
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan struct{})
	go func() {
		sig := <-signals
		cancel()
		go func() {
			defer close(told)
			s.cfg.Logger.Info("stopping; a second signal exits at once", "signal", sig.String())
		}()
		<-signals
		os.Exit(exitFailure)
	}()
	err := s.Run(ctx)
	if ctx.Err() != nil {
		<-told
	}

	var settings *SettingsError
	switch {
	case err == nil:
		s.cfg.Logger.Info("stopped")
		return exitClean
	case errors.As(err, &settings):
		fmt.Fprintln(os.Stderr, err)
		return exitSettings
	default:
		s.cfg.Logger.Error("stopped", "error", err)
		return exitFailure
	}
}
