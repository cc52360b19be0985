/* The floor: the system calls of passing descriptors, and as little as can be around them.
 *
 * Reads lines "DESCRIPTORS MESSAGES" from standard input, passes so many messages with one byte and
 * so many descriptors each over a stream socketpair, closes what it received, and prints for each
 * line the seconds that it took. Ends with its input; a message that did not come whole is an error.
 */
#define _GNU_SOURCE /* MSG_CMSG_CLOEXEC */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 253 }; /* SCM_MAX_FD of Linux */

static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static void
pass(const int ends[2], const int *fds, size_t count)
{
    union { struct cmsghdr align; char bytes[CMSG_SPACE(MOST * sizeof(int))]; } control;
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
    struct cmsghdr *cmsg;
    size_t i, came = 0;

    if (count) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof *fds);
        cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof *fds);
    }
    if (sendmsg(ends[0], &header, 0) != 1)
        fail("sendmsg");
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    if (recvmsg(ends[1], &header, MSG_CMSG_CLOEXEC) != 1)
        fail("recvmsg");
    cmsg = CMSG_FIRSTHDR(&header);
    if (cmsg)
        came = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
    for (i = 0; i < came; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
        close(fd);
    }
    if (came != count || header.msg_flags & MSG_CTRUNC) {
        fprintf(stderr, "%zu of %zu descriptors came\n", came, count);
        exit(1);
    }
}

static double
now(void)
{
    struct timespec told;

    clock_gettime(CLOCK_MONOTONIC, &told);
    return (double)told.tv_sec + 1e-9 * (double)told.tv_nsec;
}

int
main(void)
{
    int ends[2], fds[MOST], i;
    unsigned int count;
    unsigned long messages;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    for (i = 0; i < MOST; i++)
        if ((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
            fail("/dev/null");
    while (scanf("%u %lu", &count, &messages) == 2) {
        double start = now();

        if (count > MOST) {
            fprintf(stderr, "at most %d descriptors\n", MOST);
            return 1;
        }
        while (messages--)
            pass(ends, fds, count);
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return 0;
}
