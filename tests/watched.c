/*
 * Tells of each message that a process sends or receives, in a process that was started with this
 * library in LD_PRELOAD: a line on its standard error for each call, before it is made.
 *
 *   send BYTES                 recv BYTES
 *   sendmsg BYTES CONTROLS DESCRIPTORS
 *   recvmsg BYTES ROOM close-on-exec|inheritable
 *
 * And the time of day goes back by an hour each time that it is asked for.
 *
 * Each function makes its system call itself, as those of faults.c do.
 *
 * cc -shared -fPIC -Wall -Wextra -O1 watched.c -o watched.so
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static size_t bytes_of(const struct msghdr *message)
{
    size_t total = 0, i;

    for (i = 0; i < message->msg_iovlen; i++)
        total += message->msg_iov[i].iov_len;
    return total;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct cmsghdr *control;
    size_t controls = 0, descriptors = 0;

    for (control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR((struct msghdr *)message, control)) {
        controls++;
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
            descriptors += (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    }
    dprintf(2, "sendmsg %zu %zu %zu\n", bytes_of(message), controls, descriptors);
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    dprintf(2, "recvmsg %zu %zu %s\n", bytes_of(message), (size_t)message->msg_controllen,
            flags & MSG_CMSG_CLOEXEC ? "close-on-exec" : "inheritable");
    return syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    dprintf(2, "send %zu\n", length);
    return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    dprintf(2, "recv %zu\n", length);
    return syscall(SYS_recvfrom, fd, data, length, flags, NULL, NULL);
}

static time_t going_back(time_t seconds)
{
    static time_t hours;

    return seconds - 3600 * ++hours;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = syscall(SYS_clock_gettime, clock, now);

    if (status == 0 && clock == CLOCK_REALTIME)
        now->tv_sec = going_back(now->tv_sec);
    return status;
}

int gettimeofday(struct timeval *now, void *zone)
{
    int status = syscall(SYS_gettimeofday, now, zone);

    if (status == 0)
        now->tv_sec = going_back(now->tv_sec);
    return status;
}
