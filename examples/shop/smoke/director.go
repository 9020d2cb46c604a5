package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// director is who breaks things.
type director struct {
	api    *control.Client
	info   control.Info
	record *record
	short  bool
	queue  bool

	came []string // how long killed instances took to come back
	gone []string // those that did not
}

// recovers is how long a killed instance may take to be ready again.
const recovers = 30 * time.Second

type step struct {
	name string
	do   func(context.Context) error
}

func (d *director) steps() []step {
	calm := step{"calm", func(ctx context.Context) error { return d.pause(ctx, 5*time.Second, 3*time.Second) }}
	thawed := step{"thawed", func(ctx context.Context) error { return d.pause(ctx, 15*time.Second, 6*time.Second) }}
	if d.queue {
		return []step{
			calm,
			{"kill instances", d.killEach},
			{"kill control members", d.killMembers},
			{"freeze instances", d.freezeEach},
			{"freeze control members", d.freezeMembers},
			thawed,
		}
	}
	return []step{
		calm,
		{"kill instances", d.killEach},
		{"kill control members", d.killMembers},
		{"freeze instances", d.freezeEach},
		{"freeze control members", d.freezeMembers},
		{"rolling restart", d.restartEach},
		{"control frozen", d.freezeControl},
		thawed,
	}
}

func (d *director) run(ctx context.Context) error {
	for _, step := range d.steps() {
		fmt.Printf("%s  %s\n", time.Now().Format("15:04:05"), step.name)
		d.record.enter(step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// services are those whose instances are broken.
func (d *director) services() []control.Service {
	return slices.DeleteFunc(slices.Clone(d.info.Services), func(s control.Service) bool {
		return d.queue && !handlesMessages(s.Name)
	})
}

// handlesMessages reports whether a service publishes or handles messages.
func handlesMessages(service string) bool {
	return slices.Contains([]string{"orders", "payment", "shipping", "notifications", "analytics"}, service)
}

// pause lets the customers go on for a while.
func (d *director) pause(ctx context.Context, long, short time.Duration) error {
	if d.short {
		long = short
	}
	sleep(ctx, long)
	return ctx.Err()
}

func (d *director) instances(ctx context.Context, service string) ([]control.Instance, error) {
	all, err := d.api.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var out []control.Instance
	for _, i := range all {
		if i.Service == service {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no instances", service)
	}
	return out, nil
}

// kill kills one instance and waits until it is back.
func (d *director) kill(ctx context.Context, victim control.Instance) error {
	start := time.Now()
	if _, err := d.api.Kill(ctx, victim.ID, false); err != nil {
		return fmt.Errorf("kill %s: %w", victim.ID, err)
	}
	for time.Since(start) < recovers {
		all, err := d.api.Instances(ctx)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.ID == victim.ID && i.PID != victim.PID && i.State == "ready" {
				d.came = append(d.came, fmt.Sprintf("%s %.1f s", victim.ID, time.Since(start).Seconds()))
				return nil
			}
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	d.gone = append(d.gone, victim.ID)
	return nil
}

// killEach kills every instance of every service in turn; in the short form one of each service that keeps nothing. When
// all instances have been killed one after the other, one of them was the leader of what they keep when its turn came.
func (d *director) killEach(ctx context.Context) error {
	for _, service := range d.services() {
		victims, err := d.instances(ctx, service.Name)
		if err != nil {
			return err
		}
		if d.short && !keepsState(service.Name) {
			victims = victims[:1]
		}
		for _, victim := range victims {
			if err := d.kill(ctx, victim); err != nil {
				return err
			}
			if err := d.pause(ctx, 2*time.Second, 500*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepsState reports whether the instances of a service keep its state among themselves.
func keepsState(service string) bool {
	return slices.Contains([]string{"cart", "inventory", "orders", "payment", "shipping", "analytics"}, service)
}

// killMembers kills the members of the control plane in turn, so that one of them was its leader; in the short form one.
func (d *director) killMembers(ctx context.Context) error {
	victims, err := d.instances(ctx, control.ControlService)
	if err != nil {
		return err
	}
	if d.short && !d.queue {
		victims = victims[:1]
	}
	for _, victim := range victims {
		if err := d.kill(ctx, victim); err != nil {
			return err
		}
		if err := d.pause(ctx, 5*time.Second, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// freezeMembers freezes the members of the control plane in turn, so that one of them leads: with it, what carries messages
// stands still until the others have noticed. In the short form it is one.
func (d *director) freezeMembers(ctx context.Context) error {
	victims, err := d.instances(ctx, control.ControlService)
	if err != nil {
		return err
	}
	if d.short && !d.queue {
		victims = victims[:1]
	}
	for _, victim := range victims {
		if err := d.freeze(ctx, victim.ID); err != nil {
			return err
		}
		if err := d.pause(ctx, 5*time.Second, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// freezeEach freezes one instance of each service, one service after the other; and every one of orders in turn, so that
// one of them leads.
func (d *director) freezeEach(ctx context.Context) error {
	for _, service := range d.services() {
		victims, err := d.instances(ctx, service.Name)
		if err != nil {
			return err
		}
		if service.Name != "orders" {
			victims = victims[len(victims)-1:]
		}
		for _, victim := range victims {
			if err := d.freeze(ctx, victim.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *director) freeze(ctx context.Context, victim string) error {
	if _, err := d.api.Freeze(ctx, victim, false); err != nil {
		return fmt.Errorf("freeze %s: %w", victim, err)
	}
	err := d.pause(ctx, 10*time.Second, 2*time.Second)
	if _, thawErr := d.api.Thaw(context.WithoutCancel(ctx), victim); thawErr != nil {
		return fmt.Errorf("thaw %s: %w", victim, thawErr)
	}
	if err != nil {
		return err
	}
	return d.pause(ctx, 2*time.Second, 300*time.Millisecond)
}

// restartEach restarts every service; in the short form the one at the edge and the one with the most to lose.
func (d *director) restartEach(ctx context.Context) error {
	for _, service := range d.info.Services {
		if d.short && service.Name != "gateway" && service.Name != "orders" {
			continue
		}
		if _, err := d.api.Restart(ctx, service.Name); err != nil {
			return fmt.Errorf("restart %s: %w", service.Name, err)
		}
	}
	return d.pause(ctx, 3*time.Second, time.Second)
}

// freezeControl freezes all members of the control plane and kills instances meanwhile: every one of catalog, one after
// the other, so that only one that was started without a registry can serve and has to have been found; and one of orders,
// which has to find the others without a registry.
func (d *director) freezeControl(ctx context.Context) error {
	members, err := d.instances(ctx, control.ControlService)
	if err != nil {
		return err
	}
	victims, err := d.instances(ctx, "catalog")
	if err != nil {
		return err
	}
	more, err := d.instances(ctx, "orders")
	if err != nil {
		return err
	}
	victims = append(victims, more[0])
	d.record.freeze()
	if _, err := d.api.Freeze(ctx, control.ControlService, len(members) > 1); err != nil {
		return fmt.Errorf("freeze control: %w", err)
	}
	frozen := time.Now()
	err = d.whileFrozen(ctx, victims)
	long := 30 * time.Second
	if d.short {
		long = 12 * time.Second
	}
	sleep(ctx, time.Until(frozen.Add(long)))
	if _, thawErr := d.api.Thaw(context.WithoutCancel(ctx), control.ControlService); thawErr != nil {
		return fmt.Errorf("thaw control: %w", thawErr)
	}
	d.record.thaw()
	return err
}

func (d *director) whileFrozen(ctx context.Context, victims []control.Instance) error {
	if err := d.pause(ctx, 5*time.Second, 3*time.Second); err != nil {
		return err
	}
	for _, victim := range victims {
		if err := d.kill(ctx, victim); err != nil {
			return err
		}
		if err := d.pause(ctx, 3*time.Second, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// recovered is the line about killed instances.
func (d *director) recovered() string { return strings.Join(d.came, ", ") }
