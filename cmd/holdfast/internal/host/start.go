//go:build unix

package host

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/platform/wallclock"
)

// start returns when every service is ready, or with the first thing that went wrong.
func (h *Host) start(ctx context.Context) error {
	var commands map[string][]string
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		commands, err = h.compile(bothCtx)
		return err
	})
	both.Go(func() error { return h.startMembers(bothCtx) })
	if err := both.Wait(); err != nil {
		return err
	}
	for i, wave := range h.sys.Order() {
		for _, name := range wave {
			svc, _ := h.sys.Service(name)
			if err := h.startService(svc, commands[name], i+1); err != nil {
				return err
			}
		}
		if err := h.sup.WaitReady(ctx, wave...); err != nil {
			return err
		}
	}
	h.settle()
	h.enter(control.Ready)
	return nil
}

// compile returns the command line of every service, after building those that are Go packages.
func (h *Host) compile(ctx context.Context) (map[string][]string, error) {
	build := supervise.Build{Dir: h.sys.Dir, Out: filepath.Join(h.cfg.Data, "bin"), Progress: h.compiled}
	if h.clocks != nil {
		build.Overlay = func(goroot string) (string, error) {
			return wallclock.Overlay(goroot, filepath.Join(h.cfg.Data, "clocks-overlay"))
		}
	}
	commands := make(map[string][]string, len(h.sys.Services))
	for _, svc := range h.sys.Services {
		words := svc.Words()
		commands[svc.Name] = words
		if build.IsPackage(words) {
			build.Packages = append(build.Packages, words[0])
		}
	}
	if len(build.Packages) == 0 {
		return commands, nil
	}
	programs, err := h.programs(ctx, build)
	if err != nil {
		return nil, err
	}
	for name, words := range commands {
		if program, ok := programs[words[0]]; ok && build.IsPackage(words) {
			commands[name] = []string{program}
		}
	}
	return commands, nil
}

// programs returns the program of every package, built now or by the last run, and says which.
func (h *Host) programs(ctx context.Context, build supervise.Build) (map[string]string, error) {
	if h.cfg.NoBuild {
		programs, err := build.Existing()
		if err == nil {
			h.feed.publish(control.Event{Time: time.Now(), Message: "using the programs that the last run built"})
		}
		return programs, err
	}
	h.enter(control.Building)
	h.buildBegan(len(build.Packages))
	programs, err := build.Run(ctx)
	if err == nil {
		h.buildEnded()
		h.enter(control.Starting)
	}
	return programs, err
}

// startMembers returns when the members are ready, or a majority of them is and the others cannot be: the data of one may be
// damaged, or its port taken, and the system is there to go on without it.
func (h *Host) startMembers(ctx context.Context) error {
	if len(h.plane.members) == 0 {
		return nil
	}
	h.began(control.ControlService)
	err := h.sup.Add(supervise.Group{
		Service: control.ControlService,
		Command: append(append([]string(nil), h.cfg.Self...), "member"),
		Members: h.plane.members,
	})
	if err != nil {
		return err
	}
	missing, err := h.sup.WaitMajority(ctx, control.ControlService)
	if err != nil {
		return err
	}
	h.settle()
	for _, crash := range missing {
		h.feed.publish(control.Event{Time: time.Now(), Service: control.ControlService, Message: without(crash)})
	}
	return nil
}

// without says in a line that the system goes on without a member, and what that wrote last.
func without(crash *supervise.CrashError) string {
	message := brief(crash)
	if n := len(crash.Output); n > 0 {
		message += ": " + crash.Output[n-1]
	}
	return message + "; going on without it"
}

func (h *Host) startService(svc system.Service, command []string, wave int) error {
	env := []string{"HOLDFAST_REGISTRY=" + h.url}
	if h.clocks != nil {
		env = append(env, h.clocks.Env())
	}
	if h.policies.dir != "" {
		env = append(env, "HOLDFAST_POLICIES="+h.policies.dir)
	}
	if h.queue != "" || h.sys.Queue == system.NoQueue {
		env = append(env, "HOLDFAST_QUEUE="+h.queue)
	}
	for k, v := range svc.Env {
		env = append(env, k+"="+v)
	}
	told, err := h.sightEnv(svc.Name, svc.Env)
	if err != nil {
		return fmt.Errorf("start %s: %w", svc.Name, err)
	}
	env = append(env, told...)
	h.began(svc.Name)
	err = h.sup.Add(supervise.Group{
		Service:  svc.Name,
		Command:  command,
		Dir:      h.sys.Dir,
		Env:      env,
		Replicas: svc.Replicas,
		Wave:     wave,
		Serves:   serves(svc),
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", svc.Name, err)
	}
	return nil
}

// serves are the protocols that the system file says a service has, by serves or by http; nothing if it leaves that open.
func serves(svc system.Service) []string {
	if svc.Serves == nil && svc.HTTP == "" {
		return nil
	}
	return svc.Protocols()
}

func (h *Host) buildBegan(packages int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress.Build = BuildProgress{Packages: packages, Begun: time.Now()}
}

// compiled is called by the build for each package and each module that was not in its cache.
func (h *Host) compiled(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &h.progress.Build
	if b.Download = ""; strings.HasPrefix(what, "downloading ") {
		b.Download = what
	} else {
		b.Compiled++
	}
}

func (h *Host) buildEnded() {
	h.mu.Lock()
	h.progress.Build.Done = time.Now()
	took := h.progress.Build.Done.Sub(h.progress.Build.Begun)
	n := h.progress.Build.Packages
	h.mu.Unlock()
	h.feed.publish(control.Event{Time: time.Now(), Message: fmt.Sprintf("built %s in %s", count(n, "program"), Seconds(took))})
}
