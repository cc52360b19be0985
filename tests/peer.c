/*
 * peer - the other end of a Channel, written from the page "The wire format of a Channel,
 * version 1" alone. Descriptor 0 is a connected, blocking Unix stream socket.
 *
 *   peer echo    send every message back, until the end of the stream
 *   peer send    send a fixed series of messages
 *   peer count   print the size, the number of descriptors and the sum of every message
 *
 * Exit status: 0 all went well, 1 a system call failed, 2 the other side broke the format,
 * 64 wrong usage.
 *
 * cc -std=c99 -Wall -Wextra -Wpedantic -O1 peer.c -o peer
 */
#define _GNU_SOURCE /* MSG_CMSG_CLOEXEC, pipe2() */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    CHANNEL = STDIN_FILENO,
    HEADER_SIZE = 8,
    VERSION = 1,
    MAX_PAYLOAD = 1024 * 1024,
    MAX_DESCRIPTORS = 253,
    /* For control messages that somebody else enabled on the socket (credentials, a security
     * label): they must not push the descriptors out of the buffer. */
    OTHER_CONTROL = 512,

    EXIT_SYSTEM = 1,
    EXIT_PROTOCOL = 2,
    EXIT_USAGE = 64
};

struct message {
    size_t length;
    size_t count; /* of the descriptors */
    int descriptors[MAX_DESCRIPTORS];
    unsigned char payload[MAX_PAYLOAD];
};

/* There is never more than one message at a time. Being global, it can be cleaned up from
 * wherever an error is found, and a length that the other side made up costs no memory. */
static struct message message;

/* The union aligns the buffer, which a plain array of bytes would not be. */
union control {
    struct cmsghdr alignment;
    unsigned char space[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int)) + OTHER_CONTROL];
};

static void close_descriptors(void)
{
    /* An error of close() is not interesting here, and on Linux the descriptor is gone even after
     * EINTR: a second try could hit somebody else's. */
    while (message.count > 0)
        close(message.descriptors[--message.count]);
}

static void system_error(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    close_descriptors();
    exit(EXIT_SYSTEM);
}

static void protocol_error(const char *what)
{
    close_descriptors();
    close(CHANNEL);
    fprintf(stderr, "protocol error: %s\n", what);
    exit(EXIT_PROTOCOL);
}

/* ---- receiving -------------------------------------------------------------------------- */

/* Takes over what came with one recvmsg(). All of it is taken before anything is judged: what is
 * skipped here would stay open without an owner. */
static void take_control(struct msghdr *msg)
{
    bool too_many = false;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t arrived = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < arrived; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (message.count < MAX_DESCRIPTORS) {
                message.descriptors[message.count++] = fd;
            } else {
                close(fd);
                too_many = true;
            }
        }
    }
    if (too_many)
        protocol_error("more descriptors than the limit of 253");
    if (msg->msg_flags & MSG_CTRUNC)
        protocol_error("control data was truncated: descriptors are lost");
}

/* One read of at most `wanted` bytes, which must not be 0: a read of nothing looks like the end of
 * the stream. Returns 0 at that end.
 *
 * The payload is read with a control buffer too. Without one, the kernel sets MSG_CTRUNC for
 * credentials just as for descriptors, and a good message would look like a bad one. */
static size_t receive_some(unsigned char *into, size_t wanted)
{
    union control control;
    struct iovec iov = {into, wanted};
    struct msghdr msg;
    ssize_t n;

    do {
        memset(&msg, 0, sizeof msg);
        msg.msg_iov = &iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        n = recvmsg(CHANNEL, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        system_error("recvmsg");
    take_control(&msg);
    return (size_t)n;
}

/* Fills `message`, whose descriptors the caller then has to close. False: a clean end. */
static bool receive_message(void)
{
    unsigned char header[HEADER_SIZE];
    size_t have, n;

    message.count = 0;
    for (have = 0; have < sizeof header; have += n) {
        n = receive_some(header + have, sizeof header - have);
        if (n == 0 && have == 0)
            return false;
        if (n == 0)
            protocol_error("the stream ends inside a header");
    }

    /* The version comes first: in another one, the other fields may have another meaning. */
    if (header[6] != VERSION)
        protocol_error("unknown version");
    if (header[7] != 0)
        protocol_error("flags are not 0");
    uint32_t length = (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16
                    | (uint32_t)header[2] << 8 | (uint32_t)header[3];
    if (length > MAX_PAYLOAD)
        protocol_error("the payload is over the limit of 1048576 bytes");
    size_t announced = (size_t)header[4] << 8 | header[5];
    if (announced > MAX_DESCRIPTORS)
        protocol_error("the header announces more than 253 descriptors");
    if (announced != message.count)
        protocol_error("the header announces another number of descriptors than came with it");

    message.length = length;
    for (have = 0; have < message.length; have += n) {
        n = receive_some(message.payload + have, message.length - have);
        if (n == 0)
            protocol_error("the stream ends inside a payload");
        if (message.count != announced)
            protocol_error("descriptors came with the payload");
    }
    return true;
}

/* ---- sending ---------------------------------------------------------------------------- */

/* Sends `message`, and leaves its descriptors open. */
static void send_message(void)
{
    unsigned char header[HEADER_SIZE] = {
        (unsigned char)(message.length >> 24), (unsigned char)(message.length >> 16),
        (unsigned char)(message.length >> 8),  (unsigned char)message.length,
        (unsigned char)(message.count >> 8),   (unsigned char)message.count,
        VERSION, 0
    };
    struct iovec iov[2] = {{header, sizeof header}, {message.payload, message.length}};
    union control control;
    struct msghdr msg;

    memset(&msg, 0, sizeof msg);
    msg.msg_iov = iov;
    msg.msg_iovlen = 2;
    if (message.count > 0) {
        size_t size = message.count * sizeof(int);
        memset(&control, 0, sizeof control); /* no stack garbage in the padding */
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), message.descriptors, size);
    }

    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t n = sendmsg(CHANNEL, &msg, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue; /* nothing has gone, the descriptors neither */
        if (n < 0)
            system_error("sendmsg");
        if (n > 0) {
            /* They went with the first byte, and must not go twice. */
            msg.msg_control = NULL;
            msg.msg_controllen = 0;
        }
        size_t left = (size_t)n;
        for (int i = 0; i < 2; i++) {
            size_t step = left < iov[i].iov_len ? left : iov[i].iov_len;
            iov[i].iov_base = (unsigned char *)iov[i].iov_base + step;
            iov[i].iov_len -= step;
            left -= step;
        }
    }
}

/* A pipe that holds `text` and nothing more: its reader finds the end after it. */
static int pipe_with(const char *text)
{
    int ends[2];
    size_t size = strlen(text);
    ssize_t n;

    if (pipe2(ends, O_CLOEXEC) < 0)
        system_error("pipe2");
    do /* so few bytes always fit into an empty pipe, and go at once or not at all */
        n = write(ends[1], text, size);
    while (n < 0 && errno == EINTR);
    if (n < 0 || (size_t)n != size)
        system_error("write");
    close(ends[1]);
    return ends[0];
}

/* ---- what the program can do ------------------------------------------------------------ */

static void do_echo(void)
{
    while (receive_message()) {
        send_message();
        close_descriptors();
    }
}

static void do_send(void)
{
    static const size_t lengths[] = {0, 1, 7, 1000, MAX_PAYLOAD};
    static const char *const texts[] = {"one", "two", "three"};

    for (size_t i = 0; i < MAX_PAYLOAD; i++)
        message.payload[i] = (unsigned char)(i % 251);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        message.length = lengths[i];
        send_message();
    }

    message.length = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        message.descriptors[message.count++] = pipe_with(texts[i]);
    send_message();
    close_descriptors();

    message.length = strlen("many");
    memcpy(message.payload, "many", message.length);
    while (message.count < MAX_DESCRIPTORS) {
        int fd = message.count == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                                    : fcntl(message.descriptors[0], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            system_error("/dev/null");
        message.descriptors[message.count++] = fd;
    }
    send_message();
    close_descriptors();
}

static void do_count(void)
{
    while (receive_message()) {
        unsigned sum = 0;
        for (size_t i = 0; i < message.length; i++)
            sum = (sum + message.payload[i]) % 65536;
        /* Flushed, since whoever reads this may wait for the line before it sends more. */
        if (printf("%zu %zu %u\n", message.length, message.count, sum) < 0 || fflush(stdout) != 0)
            system_error("standard output");
        close_descriptors();
    }
}

int main(int argc, char **argv)
{
    /* Were a standard descriptor closed, a received one could take its number, and our output
     * would go into a file of the other side's choice. */
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        system_error("/dev/null");
    close(fd);

    if (argc == 2 && strcmp(argv[1], "echo") == 0) {
        do_echo();
    } else if (argc == 2 && strcmp(argv[1], "send") == 0) {
        do_send();
    } else if (argc == 2 && strcmp(argv[1], "count") == 0) {
        do_count();
    } else {
        fputs("usage: peer echo|send|count < connected Unix stream socket\n", stderr);
        return EXIT_USAGE;
    }
    return 0;
}
