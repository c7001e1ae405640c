/* Makes every call that waits for the disk take longer, as an SD card would: LD_PRELOAD, SLOW_FSYNC_MS.

   Calls of one process wait side by side, as those of threads do for a card that takes several requests. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

static void wait_for_card(void)
{
    const char *text = getenv("SLOW_FSYNC_MS");
    double ms = text ? atof(text) : 0;
    struct timespec left = {(time_t)(ms / 1000), 0};

    left.tv_nsec = (long)((ms / 1000 - (double)left.tv_sec) * 1e9);
    while (ms > 0 && nanosleep(&left, &left) && errno == EINTR)
        ;
}

#define SLOW(name, parameters, arguments)                                \
    int name parameters                                                  \
    {                                                                    \
        static int (*real) parameters;                                   \
        if (!real)                                                       \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);           \
        wait_for_card();                                                 \
        return real arguments;                                           \
    }

SLOW(fsync, (int fd), (fd))
SLOW(fdatasync, (int fd), (fd))
SLOW(syncfs, (int fd), (fd))
SLOW(msync, (void *address, size_t length, int flags), (address, length, flags))
SLOW(sync_file_range, (int fd, off64_t offset, off64_t count, unsigned int flags), (fd, offset, count, flags))
