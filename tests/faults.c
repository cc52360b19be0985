/*
 * Makes system calls fail, one at a time, in a process that was started with this library in
 * LD_PRELOAD. Only the thread that called fdpass_fault is concerned, until it calls fdpass_calls.
 *
 * Each function makes its system call itself: a call of the C library's function of the same name
 * would need dlsym, whose version ties the library to the C library that it was built with.
 *
 * cc -shared -fPIC -Wall -Wextra -O1 faults.c -o faults.so
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread int active, nth, times, error, seen;
static __thread char failing[32];
static __thread char calls[1 << 16];
static __thread size_t length;

/* From now on, the calls of that function number nth (the first is 1) to nth + times - 1 fail. */
void fdpass_fault(const char *name, int first, int how_often, int number)
{
    strncpy(failing, name, sizeof failing - 1);
    nth = first;
    times = how_often;
    error = number;
    seen = 0;
    length = 0;
    calls[0] = '\0';
    active = 1;
}

/* The functions that were called since then, a space behind each; from now on none fails. */
const char *fdpass_calls(void)
{
    active = 0;
    return calls;
}

static int fails(const char *name)
{
    size_t size = strlen(name);

    if (!active)
        return 0;
    if (length + size + 2 < sizeof calls) {
        memcpy(calls + length, name, size);
        length += size;
        calls[length++] = ' ';
        calls[length] = '\0';
    }
    if (strcmp(name, failing) != 0)
        return 0;
    seen++;
    if (seen < nth || seen >= nth + times)
        return 0;
    errno = error;
    return 1;
}

#define CALL(name, ...) return fails(#name) ? -1 : syscall(__VA_ARGS__)

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    CALL(sendmsg, SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    CALL(recvmsg, SYS_recvmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    CALL(send, SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *name,
               socklen_t namelen)
{
    CALL(sendto, SYS_sendto, fd, data, size, flags, name, namelen);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    CALL(recv, SYS_recvfrom, fd, data, size, flags, NULL, NULL);
}

int socket(int family, int type, int protocol)
{
    CALL(socket, SYS_socket, family, type, protocol);
}

int socketpair(int family, int type, int protocol, int ends[2])
{
    CALL(socketpair, SYS_socketpair, family, type, protocol, ends);
}

int bind(int fd, const struct sockaddr *name, socklen_t namelen)
{
    CALL(bind, SYS_bind, fd, name, namelen);
}

int listen(int fd, int backlog)
{
    CALL(listen, SYS_listen, fd, backlog);
}

int connect(int fd, const struct sockaddr *name, socklen_t namelen)
{
    CALL(connect, SYS_connect, fd, name, namelen);
}

int accept(int fd, struct sockaddr *name, socklen_t *namelen)
{
    CALL(accept, SYS_accept4, fd, name, namelen, 0);
}

int accept4(int fd, struct sockaddr *name, socklen_t *namelen, int flags)
{
    CALL(accept, SYS_accept4, fd, name, namelen, flags);
}

int getsockname(int fd, struct sockaddr *name, socklen_t *namelen)
{
    CALL(getsockname, SYS_getsockname, fd, name, namelen);
}

int getpeername(int fd, struct sockaddr *name, socklen_t *namelen)
{
    CALL(getpeername, SYS_getpeername, fd, name, namelen);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
    CALL(getsockopt, SYS_getsockopt, fd, level, option, value, size);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    CALL(setsockopt, SYS_setsockopt, fd, level, option, value, size);
}

int shutdown(int fd, int how)
{
    CALL(shutdown, SYS_shutdown, fd, how);
}

/* close(2): whatever it says, the descriptor is gone. */
int close(int fd)
{
    int failed = fails("close"), status = (int)syscall(SYS_close, fd);

    if (failed) {
        errno = error;
        return -1;
    }
    return status;
}

int dup(int fd)
{
    CALL(dup, SYS_dup, fd);
}

int dup2(int fd, int target)
{
    if (fails("dup2"))
        return -1;
    return fd == target ? fd : (int)syscall(SYS_dup3, fd, target, 0);
}

int dup3(int fd, int target, int flags)
{
    CALL(dup3, SYS_dup3, fd, target, flags);
}

int eventfd(unsigned int count, int flags)
{
    CALL(eventfd, SYS_eventfd2, count, flags);
}

/* The argument after last, which the call may lack: then it is not looked at. */
#define VARIADIC(last) \
    long argument; \
    va_list arguments; \
    va_start(arguments, last); \
    argument = va_arg(arguments, long); \
    va_end(arguments)

int fcntl(int fd, int command, ...)
{
    VARIADIC(command);
    CALL(fcntl, SYS_fcntl, fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    VARIADIC(command);
    CALL(fcntl, SYS_fcntl, fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...)
{
    VARIADIC(request);
    CALL(ioctl, SYS_ioctl, fd, request, argument);
}

int open(const char *path, int flags, ...)
{
    VARIADIC(flags);
    CALL(open, SYS_openat, AT_FDCWD, path, flags, argument);
}

int open64(const char *path, int flags, ...)
{
    VARIADIC(flags);
    CALL(open, SYS_openat, AT_FDCWD, path, flags, argument);
}

int openat(int folder, const char *path, int flags, ...)
{
    VARIADIC(flags);
    CALL(open, SYS_openat, folder, path, flags, argument);
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct timespec wait = {timeout / 1000, timeout % 1000 * 1000000L};

    CALL(poll, SYS_ppoll, fds, count, timeout < 0 ? NULL : &wait, NULL, 0);
}

int select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, struct timeval *left)
{
    struct timespec wait = {left ? left->tv_sec : 0, left ? left->tv_usec * 1000L : 0};

    if (!count) /* Python 2's time.sleep */
        return syscall(SYS_pselect6, 0, NULL, NULL, NULL, left ? &wait : NULL, NULL);
    CALL(select, SYS_pselect6, count, readable, writable, exceptional, left ? &wait : NULL, NULL);
}

int flock(int fd, int operation)
{
    CALL(flock, SYS_flock, fd, operation);
}

int fchmod(int fd, mode_t mode)
{
    CALL(fchmod, SYS_fchmod, fd, mode);
}

int chmod(const char *path, mode_t mode)
{
    CALL(chmod, SYS_fchmodat, AT_FDCWD, path, mode);
}

int unlink(const char *path)
{
    CALL(unlink, SYS_unlinkat, AT_FDCWD, path, 0);
}

char *getcwd(char *buffer, size_t size)
{
    if (fails("getcwd"))
        return NULL;
    return syscall(SYS_getcwd, buffer, size) < 0 ? NULL : buffer;
}

/* 32-bit systems have a call for struct stat64 alone, which is what Python uses there. */
#ifdef SYS_newfstatat
#define STAT_CALL SYS_newfstatat
#define FSTAT_CALL SYS_fstat
#else
#define STAT_CALL SYS_fstatat64
#define FSTAT_CALL SYS_fstat64
#endif
/* Under the names that C libraries before glibc 2.33 have, too. */
#define STAT(name, plain, old)                                                                 \
    int plain { CALL(name, STAT_CALL, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW); }          \
    int old { (void)version; CALL(name, STAT_CALL, AT_FDCWD, path, status,                     \
                                  AT_SYMLINK_NOFOLLOW); }
#define FSTAT(name, plain, old)                                                                \
    int plain { CALL(name, FSTAT_CALL, fd, status); }                                          \
    int old { (void)version; CALL(name, FSTAT_CALL, fd, status); }

#ifdef SYS_newfstatat
STAT(lstat, lstat(const char *path, struct stat *status),
     __lxstat(int version, const char *path, struct stat *status))
FSTAT(fstat, fstat(int fd, struct stat *status),
      __fxstat(int version, int fd, struct stat *status))
#endif
STAT(lstat, lstat64(const char *path, struct stat64 *status),
     __lxstat64(int version, const char *path, struct stat64 *status))
FSTAT(fstat, fstat64(int fd, struct stat64 *status),
      __fxstat64(int version, int fd, struct stat64 *status))
