/* A computer's clock that is set back, for one program: cc -shared -fPIC -o clock.so clock.c

   LD_PRELOAD=clock.so TORTURE_CLOCK=file: the file holds how many seconds the clock is ahead, an int64; it may change
   at any time. Clocks that measure durations go on, as when a real clock is set. */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t ahead(void)
{
    static volatile int64_t *seconds;
    const char *name = getenv("TORTURE_CLOCK");
    if (!seconds && name) {
        int file = open(name, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            void *place = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
            close(file);
            if (place != MAP_FAILED)
                seconds = place;
        }
    }
    return seconds ? *seconds : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
