/* The system calls that Python 2.7's socket module lacks. _ffi_build.py compiles this file, behind
 * a #define of -1 for each constant that the system lacks.
 *
 * A function returns -errno where its system call fails, because Python may change errno before
 * the caller can read it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* MSG_CMSG_CLOEXEC, dup3 */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif
#include <time.h>
#include <unistd.h>

/* cffi reads from here: */
typedef struct {
    char control[4096];  /* first, and ssize_t below: both align it as struct cmsghdr needs */
    ssize_t controllen;  /* bytes of control messages that arrived */
    int msg_flags;       /* as recvmsg set them */
    int namelen;
    int nfds;            /* descriptors in fds; -1: read the control messages */
    int plain_nfds;      /* nfds; -1: there are flags, an address or other control messages */
    int fds[1024];
    char name[128];
    char data[8192];
} fdpass_message;

static ssize_t fdpass_send(int fd, const char *data, size_t size, const int *fds, int nfds,
                           int flags);
static ssize_t fdpass_send_one(int fd, const char *data, size_t size, int sent_fd, int flags);
static ssize_t fdpass_sendmsg(int fd, const char *data, size_t size, int count, const int *heads,
                              const char *contents, int flags, const char *name,
                              unsigned int namelen);
static ssize_t fdpass_recv(int fd, size_t size, int flags, fdpass_message *message);
static ssize_t fdpass_recvmsg(int fd, char *data, size_t size, char *control, size_t controlsize,
                              int flags, fdpass_message *message);
static int fdpass_walk(const char *control, size_t controllen, int *heads, int max_count);
static void fdpass_discard(const char *control, size_t controllen);
static size_t fdpass_cmsg_len(size_t size);
static size_t fdpass_cmsg_space(size_t size);
static int fdpass_getsockopt(int fd, int level, int option, char *value, unsigned int size);
static int fdpass_sockname_family(int fd);
static int fdpass_facts(int fd, int domain, int protocol, int *facts);
static int fdpass_dummy(void);
static int fdpass_dup_over(int fd, int target);
static double fdpass_monotonic(void);
/* to here. */

/* cffi would name the binding after the package that it was built in, and CPython 2 could not
 * import a copy that was moved. The last part of the name is enough. */
#define _cffi_init(name, version, context) (_cffi_init)("_binding", version, context)

#ifdef __linux__
#define FDPASS_SCM_PIDFD 4 /* Linux 6.5; at the descriptor limit it carries a negative errno */
#else
#define FDPASS_SCM_PIDFD SCM_RIGHTS
#endif

/* Sending */

static ssize_t fdpass_send(int fd, const char *data, size_t size, const int *fds, int nfds,
                           int flags)
{
    const int head[3] = {SOL_SOCKET, SCM_RIGHTS, (int)sizeof *fds * nfds};
    return fdpass_sendmsg(fd, data, size, nfds > 0, head, (const char *)fds, flags, NULL, 0);
}

/* With one descriptor, Python need not make an array. */
static ssize_t fdpass_send_one(int fd, const char *data, size_t size, int sent_fd, int flags)
{
    return fdpass_send(fd, data, size, &sent_fd, 1, flags);
}

/* heads has three ints for each control message: level, type and length of the content. */
static ssize_t fdpass_sendmsg(int fd, const char *data, size_t size, int count, const int *heads,
                              const char *contents, int flags, const char *name,
                              unsigned int namelen)
{
    struct iovec vector = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
    union { struct cmsghdr alignment; char bytes[2048]; } on_stack;
    char *control;
    size_t controllen = 0;
    ssize_t sent;
    int i;

    if (namelen) {
        header.msg_name = (void *)name;
        header.msg_namelen = namelen;
    }
    for (i = 0; i < count; i++)
        controllen += CMSG_SPACE((size_t)heads[3 * i + 2]);
    control = controllen <= sizeof on_stack ? on_stack.bytes : malloc(controllen);
    if (!control)
        return -ENOMEM;
    if (count) {
        struct cmsghdr *cmsg;
        memset(control, 0, controllen); /* CMSG_NXTHDR reads ahead */
        header.msg_control = control;
        header.msg_controllen = controllen;
        cmsg = CMSG_FIRSTHDR(&header);
        for (; count-- && cmsg; cmsg = CMSG_NXTHDR(&header, cmsg)) {
            size_t length = (size_t)heads[2];
            cmsg->cmsg_level = heads[0];
            cmsg->cmsg_type = heads[1];
            cmsg->cmsg_len = CMSG_LEN(length);
            memcpy(CMSG_DATA(cmsg), contents, length);
            contents += length;
            heads += 3;
        }
    }
    sent = sendmsg(fd, &header, flags);
    if (sent < 0)
        sent = -errno;
    if (control != on_stack.bytes)
        free(control);
    return sent;
}

/* Receiving */

/* Returns how many bytes of content arrived: when macOS truncates, it leaves cmsg_len unchanged. */
static size_t content_length(const struct msghdr *header, struct cmsghdr *cmsg)
{
    const char *content = (const char *)CMSG_DATA(cmsg);
    const char *end = (const char *)header->msg_control + header->msg_controllen;
    size_t claimed = cmsg->cmsg_len < CMSG_LEN(0) ? 0 : cmsg->cmsg_len - CMSG_LEN(0);
    size_t available = content < end ? (size_t)(end - content) : 0;
    return claimed < available ? claimed : available;
}

/* Receives into the message itself, because each argument that Python converts takes time. */
static ssize_t fdpass_recv(int fd, size_t size, int flags, fdpass_message *message)
{
    return fdpass_recvmsg(fd, message->data, size, message->control, sizeof message->control,
                          flags, message);
}

static ssize_t fdpass_recvmsg(int fd, char *data, size_t size, char *control, size_t controlsize,
                              int flags, fdpass_message *message)
{
    struct iovec vector = {.iov_base = data, .iov_len = size};
    struct msghdr header = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_name = message->name,
        .msg_namelen = sizeof message->name,
        .msg_control = controlsize ? control : NULL,
        .msg_controllen = controlsize,
    };
    struct cmsghdr *cmsg;
    ssize_t received = recvmsg(fd, &header, flags);

    if (received < 0)
        return -errno;
    message->msg_flags = header.msg_flags;
    message->namelen = header.msg_namelen < sizeof message->name
        ? (int)header.msg_namelen : (int)sizeof message->name;
    message->controllen = (ssize_t)header.msg_controllen;
    message->nfds = 0;
    cmsg = CMSG_FIRSTHDR(&header);
    if (cmsg) {
        size_t length = content_length(&header, cmsg);
        /* One SCM_RIGHTS and nothing else is the usual case, which has to be fast. */
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS
                && length <= sizeof message->fds && !CMSG_NXTHDR(&header, cmsg)) {
            message->nfds = (int)(length / sizeof *message->fds);
            memcpy(message->fds, CMSG_DATA(cmsg), length);
        } else
            message->nfds = -1;
    }
    message->plain_nfds = message->namelen || (header.msg_flags & ~MSG_CMSG_CLOEXEC)
        ? -1 : message->nfds;
    return received;
}

/* Control messages that have arrived */

static struct msghdr with_control(const char *control, size_t controllen)
{
    struct msghdr header = {
        .msg_control = controllen ? (void *)control : NULL,
        .msg_controllen = controllen,
    };
    return header;
}

/* Writes four ints to heads for each control message: level, type, and offset and length of the
 * content. Returns how many control messages there are, at most max_count. */
static int fdpass_walk(const char *control, size_t controllen, int *heads, int max_count)
{
    struct msghdr header = with_control(control, controllen);
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    int count = 0;

    for (; cmsg && count < max_count; cmsg = CMSG_NXTHDR(&header, cmsg), count++) {
        *heads++ = cmsg->cmsg_level;
        *heads++ = cmsg->cmsg_type;
        *heads++ = (int)((const char *)CMSG_DATA(cmsg) - control);
        *heads++ = (int)content_length(&header, cmsg);
    }
    return count;
}

/* Closes every descriptor in the control messages. */
static void fdpass_discard(const char *control, size_t controllen)
{
    struct msghdr header = with_control(control, controllen);
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    size_t i;
    int fd;

    for (; cmsg; cmsg = CMSG_NXTHDR(&header, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET
                && (cmsg->cmsg_type == SCM_RIGHTS || cmsg->cmsg_type == FDPASS_SCM_PIDFD))
            for (i = 0; i + sizeof fd <= content_length(&header, cmsg); i += sizeof fd) {
                memcpy(&fd, CMSG_DATA(cmsg) + i, sizeof fd);
                close(fd);
            }
}

static size_t fdpass_cmsg_len(size_t size) { return CMSG_LEN(size); }
static size_t fdpass_cmsg_space(size_t size) { return CMSG_SPACE(size); }

/* Sockets and descriptors */

static int fdpass_getsockopt(int fd, int level, int option, char *value, unsigned int size)
{
    socklen_t length = size;
    return getsockopt(fd, level, option, value, &length) < 0 ? -errno : (int)length;
}

static int fdpass_sockname_family(int fd)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &length) < 0 ? -errno : name.ss_family;
}

/* Writes to facts the family, the type, the protocol (-1: the system has no option for it) and the
 * flags that F_GETFL returns. */
static int fdpass_facts(int fd, int domain, int protocol, int *facts)
{
    const int options[3] = {domain, SO_TYPE, protocol};
    int i;

    for (i = 0; i < 3; i++) {
        socklen_t length = sizeof facts[i];
        facts[i] = -1;
        if (options[i] != -1 && getsockopt(fd, SOL_SOCKET, options[i], &facts[i], &length) < 0)
            return -errno;
    }
    if (facts[0] == -1 && (facts[0] = fdpass_sockname_family(fd)) < 0)
        return facts[0];
    facts[3] = fcntl(fd, F_GETFL);
    return facts[3] < 0 ? -errno : 0;
}

/* Returns a new descriptor, which does no harm in a child that inherits it. */
static int fdpass_dummy(void)
{
#ifdef __linux__
    int fd = eventfd(0, EFD_CLOEXEC);
#else
    int fd = open("/dev/null", O_RDONLY);
#endif
    if (fd < 0) /* not by ?:, which cppcheck takes for a leak */
        return -errno;
    return fd;
}

/* Replaces target with a close-on-exec duplicate of fd. */
static int fdpass_dup_over(int fd, int target)
{
#if defined(O_CLOEXEC) && !defined(__APPLE__)
    int result = dup3(fd, target, O_CLOEXEC);
#else
    int result = dup2(fd, target);
    if (result >= 0)
        result = fcntl(target, F_SETFD, FD_CLOEXEC);
#endif
    return result < 0 ? -errno : 0;
}

static double fdpass_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
