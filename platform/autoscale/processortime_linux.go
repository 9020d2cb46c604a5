package autoscale

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of /proc: USER_HZ is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// processorTime is the processor time of a process so far.
func processorTime(pid int) (time.Duration, bool) {
	if pid <= 0 {
		return 0, false
	}
	_, used, ok := stat(strconv.Itoa(pid))
	return used, ok
}

// groupTimes is the processor time so far of all processes that are there, by process group and process. What those used that have ended
// is not in it: a child's whole life would come at the moment at which somebody waits for it.
func groupTimes() map[int]map[int]time.Duration {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	times := make(map[int]map[int]time.Duration)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil { // no process
			continue
		}
		if group, used, ok := stat(name); ok { // otherwise it has just ended
			if times[group] == nil {
				times[group] = make(map[int]time.Duration, 1)
			}
			times[group][pid] = used
		}
	}
	return times
}

// stat is the process group and the processor time of the process that /proc has under name.
func stat(name string) (group int, used time.Duration, ok bool) {
	b, err := os.ReadFile("/proc/" + name + "/stat")
	if err != nil {
		return 0, 0, false
	}
	return parseStat(b)
}

// parseStat reads process group, user and system time, fields 5, 14 and 15 of proc_pid_stat(5). The name, field 2, is in parentheses and
// may have anything in it.
func parseStat(b []byte) (group int, used time.Duration, ok bool) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, false
	}
	group, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return 0, 0, false
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil || n < 0 || n > 1<<48 {
			return 0, 0, false
		}
		ticks += n
	}
	return group, time.Duration(ticks) * clockTick, true
}
