package flbtest

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime reads another process's clock (clock_getcpuclockid(3); the number is
// include/linux/posix-timers_types.h: MAKE_PROCESS_CPUCLOCK of CPUCLOCK_SCHED).
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}
