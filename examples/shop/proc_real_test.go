//go:build real && linux

package shop_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// process is one process at one time: the kernel gives pids again, but not with the same start.
type process struct {
	pid, parent int
	start       string // in clock ticks since the machine started
	state       string
	command     string
}

func (p process) String() string { return fmt.Sprintf("%d (%s, %s)", p.pid, p.command, p.state) }

// readProcess reads /proc/PID/stat. The command in it may contain anything, so the fields are counted from its end.
func readProcess(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	text := string(b)
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return process{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	fields := strings.Fields(text[shut+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid: pid, parent: parent, start: fields[19], state: fields[0], command: text[open+1 : shut]}, err
}

// allProcesses lists the processes of this machine that this test may see.
func allProcesses() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil { // or it has just ended
			all = append(all, p)
		}
	}
	return all, nil
}

// processes returns up and everything that it has started.
func (r *running) processes(t *testing.T) []process {
	t.Helper()
	all, err := allProcesses()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[int]bool{r.cmd.Process.Pid: true}
	for before := 0; len(ours) > before; { // until no more children are found
		before = len(ours)
		for _, p := range all {
			if ours[p.parent] {
				ours[p.pid] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(p process) bool { return !ours[p.pid] })
}

// left is an error that names those of the processes that are still there, and any other one that uses the data
// directory. One that has ended and whose parent has not asked how is gone.
func left(processes []process, data string) error {
	var still []string
	for _, was := range processes {
		if p, err := readProcess(was.pid); err == nil && p.start == was.start && p.state != "Z" {
			still = append(still, p.String())
		}
	}
	all, err := allProcesses()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.pid == os.Getpid() || p.state == "Z" || slices.Contains(still, p.String()) {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.pid, file))
			if err == nil && bytes.Contains(b, []byte(data)) {
				still = append(still, p.String())
				break
			}
		}
	}
	if len(still) > 0 {
		return errors.New("still there: " + strings.Join(still, ", "))
	}
	return nil
}

// memory is what a process holds in RAM, in KiB: now, and at most since it started.
type memory struct{ now, peak int }

func readMemory(pid int) (m memory, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		number := strings.TrimSuffix(strings.TrimSpace(value), " kB")
		switch name {
		case "VmRSS":
			m.now, err = strconv.Atoi(number)
		case "VmHWM":
			m.peak, err = strconv.Atoi(number)
		}
		if err != nil {
			return m, err
		}
	}
	if m.now == 0 || m.peak == 0 {
		return m, fmt.Errorf("/proc/%d/status says nothing of memory", pid)
	}
	return m, nil
}

// openFiles counts what a process has open.
func openFiles(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}

// listening returns the addresses that a process listens at, as the kernel knows them.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	sockets := make(map[string]bool) // by inode
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
			sockets[strings.Trim(target, "socket:[]")] = true
		}
	}
	var addrs []string
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a machine without IPv6
		}
		for line := range strings.Lines(string(b)) {
			const listen = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listen && sockets[f[9]] {
				addrs = append(addrs, kernelAddr(t, f[1]))
			}
		}
	}
	return addrs
}

// kernelAddr reads an address as /proc prints it. Whatever it is bound to, it is reached by loopback.
func kernelAddr(t *testing.T, s string) string {
	t.Helper()
	_, hex, ok := strings.Cut(s, ":")
	port, err := strconv.ParseUint(hex, 16, 16)
	if !ok || err != nil {
		t.Fatalf("address %q in /proc", s)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
