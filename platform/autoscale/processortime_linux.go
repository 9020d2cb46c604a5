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
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	return parseStat(b)
}

// parseStat reads user and system time, fields 14 and 15 of proc_pid_stat(5). The name, field 2, is in parentheses and may
// have anything in it.
func parseStat(b []byte) (time.Duration, bool) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil || n < 0 || n > 1<<48 {
			return 0, false
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, true
}
