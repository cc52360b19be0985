"""Python 2's binding to sendmsg and recvmsg, by cffi in API mode.

``python PATH/fdpass/_ffi_build.py`` builds it in place, under whatever name the package has there;
a setup.py lists ``PATH/fdpass/_ffi_build.py:ffibuilder`` in cffi_modules. By path and never by
``-m``, which would import the package, and that needs the binding. Imports nothing of the package.
"""

import os
import shutil
import sys
import tempfile

try:
    import cffi
except ImportError:
    sys.exit("fdpass's binding is built with cffi: %s -m pip install 'cffi<1.16'" % sys.executable)

HERE = os.path.dirname(os.path.abspath(__file__))

# Where the system has none of a name, the binding says -1.
CONSTANTS = [
    "F_DUPFD_CLOEXEC",
    "MSG_CMSG_CLOEXEC",
    "MSG_CTRUNC",
    "MSG_DONTWAIT",
    "MSG_NOSIGNAL",
    "MSG_TRUNC",
    "SCM_CREDENTIALS",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_NONBLOCK",
    "SO_DOMAIN",
    "SO_PASSCRED",
    "SO_PEERCRED",
    "SO_PROTOCOL",
]

DECLARATIONS = """
typedef struct {
    int msg_flags;      /* as recvmsg left them */
    int controllen;     /* bytes of control messages that arrived */
    int namelen;
    int nfds;           /* descriptors in fds, or -1: walk the control messages */
    int usual;          /* nfds, or -1: there are flags, an address or more control messages */
    int fds[...];
    char name[128];
    char control[...];
    char data[...];
    ...;
} fdpass_message;

/* Where a system call fails, these give -errno: Python's errno may be another's by then. */
ssize_t fdpass_send(int fd, const char *data, size_t size, const int *fds, int nfds, int flags);
ssize_t fdpass_send_one(int fd, const char *data, size_t size, int passed, int flags);
ssize_t fdpass_sendmsg(int fd, const char *data, size_t size, int items, const int *heads,
                       const char *contents, int flags, const char *name, unsigned int namelen);
ssize_t fdpass_recvmsg(int fd, char *data, size_t size, char *control, size_t controlsize,
                       int flags, fdpass_message *message);
ssize_t fdpass_recv(int fd, size_t size, int flags, fdpass_message *message);
int fdpass_walk(const char *control, size_t controllen, int *heads, int most);
void fdpass_discard(const char *control, size_t controllen);
int fdpass_getsockopt(int fd, int level, int option, char *value, unsigned int size);
int fdpass_sockname_family(int fd);
int fdpass_facts(int fd, int domain, int protocol, int *facts);
int fdpass_dummy(void);
int fdpass_dup_over(int fd, int target);
double fdpass_monotonic(void);
size_t fdpass_cmsg_len(size_t size);
size_t fdpass_cmsg_space(size_t size);
"""

SOURCE = r"""
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
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

%s

#ifdef __linux__
#define FDPASS_SCM_PIDFD 4 /* Linux 6.5; at the descriptor limit it carries an errno, negative */
#else
#define FDPASS_SCM_PIDFD SCM_RIGHTS
#endif

typedef struct {
    int msg_flags, controllen, namelen, nfds, usual;
    int fds[1024];
    char name[128];
    char control[4096] __attribute__((aligned)); /* as a struct cmsghdr wants it */
    char data[8192];
} fdpass_message;

static ssize_t fdpass_sendmsg(int fd, const char *data, size_t size, int items, const int *heads,
                              const char *contents, int flags,
                              const char *name, unsigned int namelen)
{
    struct msghdr header;
    struct iovec vector;
    struct cmsghdr *cmsg;
    union { struct cmsghdr align; char bytes[2048]; } small;
    char *control = small.bytes;
    size_t controllen = 0;
    ssize_t sent;
    int i;

    memset(&header, 0, sizeof header);
    vector.iov_base = (void *)data;
    vector.iov_len = size;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    if (namelen) {
        header.msg_name = (void *)name;
        header.msg_namelen = namelen;
    }
    for (i = 0; i < items; i++)
        controllen += CMSG_SPACE((size_t)heads[3 * i + 2]);
    if (controllen > sizeof small && !(control = malloc(controllen)))
        return -ENOMEM;
    if (items) {
        memset(control, 0, controllen);
        header.msg_control = control;
        header.msg_controllen = controllen;
        for (cmsg = CMSG_FIRSTHDR(&header), i = 0; i < items && cmsg; i++) {
            size_t length = (size_t)heads[3 * i + 2];
            cmsg->cmsg_level = heads[3 * i];
            cmsg->cmsg_type = heads[3 * i + 1];
            cmsg->cmsg_len = CMSG_LEN(length);
            memcpy(CMSG_DATA(cmsg), contents, length);
            contents += length;
            cmsg = CMSG_NXTHDR(&header, cmsg);
        }
    }
    sent = sendmsg(fd, &header, flags);
    if (sent < 0)
        sent = -errno;
    if (control != small.bytes)
        free(control);
    return sent;
}

static /* Where a system call fails, these give -errno: Python's errno may be another's by then. */
ssize_t fdpass_send(int fd, const char *data, size_t size, const int *fds, int nfds,
                           int flags)
{
    int head[3] = {SOL_SOCKET, SCM_RIGHTS, (int)sizeof(int) * nfds};
    return fdpass_sendmsg(fd, data, size, nfds > 0, head, (const char *)fds, flags, NULL, 0);
}

/* The bytes that a control message really has: macOS leaves cmsg_len whole when it truncates. */
static size_t fdpass_content(const struct msghdr *header, struct cmsghdr *cmsg)
{
    const char *content = (const char *)CMSG_DATA(cmsg);
    const char *end = (const char *)header->msg_control + header->msg_controllen;
    size_t claimed = cmsg->cmsg_len < CMSG_LEN(0) ? 0 : cmsg->cmsg_len - CMSG_LEN(0);
    size_t there = content < end ? (size_t)(end - content) : 0;
    return claimed < there ? claimed : there;
}

/* A list of one would be made into an array first. */
static ssize_t fdpass_send_one(int fd, const char *data, size_t size, int passed, int flags)
{
    return fdpass_send(fd, data, size, &passed, 1, flags);
}

static ssize_t fdpass_recvmsg(int fd, char *data, size_t size, char *control, size_t controlsize,
                              int flags, fdpass_message *message)
{
    struct msghdr header;
    struct iovec vector;
    struct cmsghdr *cmsg;
    ssize_t received;

    memset(&header, 0, sizeof header);
    vector.iov_base = data;
    vector.iov_len = size;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_name = message->name;
    header.msg_namelen = sizeof message->name;
    header.msg_control = controlsize ? control : NULL;
    header.msg_controllen = controlsize;
    received = recvmsg(fd, &header, flags);
    if (received < 0)
        return -errno;
    message->msg_flags = header.msg_flags;
    message->namelen = header.msg_namelen < sizeof message->name
        ? (int)header.msg_namelen : (int)sizeof message->name;
    message->controllen = (int)header.msg_controllen;
    message->nfds = 0;
    cmsg = CMSG_FIRSTHDR(&header);
    if (cmsg) {
        size_t length = fdpass_content(&header, cmsg);
        /* The plain case, one SCM_RIGHTS and nothing else, is worth a lane of its own. */
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS
                && length <= sizeof message->fds && !CMSG_NXTHDR(&header, cmsg)) {
            message->nfds = (int)(length / sizeof(int));
            memcpy(message->fds, CMSG_DATA(cmsg), length);
        } else
            message->nfds = -1;
    }
    message->usual = message->namelen || (header.msg_flags & ~MSG_CMSG_CLOEXEC)
        ? -1 : message->nfds;
    return received;
}

/* Into the message's own room: each argument that need not be converted is time won. */
static ssize_t fdpass_recv(int fd, size_t size, int flags, fdpass_message *message)
{
    return fdpass_recvmsg(fd, message->data, size, message->control, sizeof message->control,
                          flags, message);
}

static void fdpass_frame(struct msghdr *header, const char *control, size_t controllen)
{
    memset(header, 0, sizeof *header);
    header->msg_control = controllen ? (void *)control : NULL;
    header->msg_controllen = controllen;
}

/* Into heads, four ints for each control message: level, type, offset and length of the content. */
static int fdpass_walk(const char *control, size_t controllen, int *heads, int most)
{
    struct msghdr header;
    struct cmsghdr *cmsg;
    int count = 0;

    fdpass_frame(&header, control, controllen);
    for (cmsg = CMSG_FIRSTHDR(&header); cmsg && count < most; cmsg = CMSG_NXTHDR(&header, cmsg)) {
        *heads++ = cmsg->cmsg_level;
        *heads++ = cmsg->cmsg_type;
        *heads++ = (int)((const char *)CMSG_DATA(cmsg) - control);
        *heads++ = (int)fdpass_content(&header, cmsg);
        count++;
    }
    return count;
}

static void fdpass_discard(const char *control, size_t controllen)
{
    struct msghdr header;
    struct cmsghdr *cmsg;
    size_t i;
    int fd;

    fdpass_frame(&header, control, controllen);
    for (cmsg = CMSG_FIRSTHDR(&header); cmsg; cmsg = CMSG_NXTHDR(&header, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET
                && (cmsg->cmsg_type == SCM_RIGHTS || cmsg->cmsg_type == FDPASS_SCM_PIDFD))
            for (i = 0; i + sizeof fd <= fdpass_content(&header, cmsg); i += sizeof fd) {
                memcpy(&fd, CMSG_DATA(cmsg) + i, sizeof fd);
                close(fd);
            }
}

static int fdpass_getsockopt(int fd, int level, int option, char *value, unsigned int size)
{
    socklen_t length = size;
    return getsockopt(fd, level, option, value, &length) < 0 ? -errno : (int)length;
}

/* The binding takes the name under which it is imported, so a built copy can be moved; the dotted
   name that cffi would give it ties CPython 2 to the package it was built for. */
#define _cffi_init(name, version, context) (_cffi_init)("_binding", version, context)

static int fdpass_sockname_family(int fd)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &length) < 0 ? -errno : name.ss_family;
}

/* Into facts, family, type, protocol (-1: no such option) and the flags of fcntl. */
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

/* A descriptor that does no harm in a child that inherits it. */
static int fdpass_dummy(void)
{
#ifdef __linux__
    int fd = eventfd(0, EFD_CLOEXEC);
#else
    int fd = open("/dev/null", O_RDONLY);
#endif
    return fd < 0 ? -errno : fd;
}

static int fdpass_dup_over(int fd, int target)
{
#if defined(O_CLOEXEC) && !defined(__APPLE__)
    int done = dup3(fd, target, O_CLOEXEC);
#else
    int done = dup2(fd, target);
    if (done >= 0)
        done = fcntl(target, F_SETFD, FD_CLOEXEC);
#endif
    return done < 0 ? -errno : 0;
}

static double fdpass_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static size_t fdpass_cmsg_len(size_t size) { return CMSG_LEN(size); }
static size_t fdpass_cmsg_space(size_t size) { return CMSG_SPACE(size); }
"""


def dotted_name(folder):
    """The package's own import name, found by walking up while the folders are packages."""
    names = []
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        names.insert(0, name)
    return ".".join(names)


def declared():
    # glibc has some of the names as enum members too, and says so with a macro of the same name.
    missing = "".join("#ifndef %s\n#define %s -1\n#endif\n" % (n, n) for n in CONSTANTS)
    builder = cffi.FFI()
    builder.cdef("".join("static const int %s;\n" % n for n in CONSTANTS) + DECLARATIONS)
    builder.set_source(dotted_name(HERE) + "._binding", SOURCE % missing)
    return builder


ffibuilder = declared()


def advice():
    """What a build that failed may have lacked, and how to get it."""
    from distutils import sysconfig
    from distutils.spawn import find_executable

    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    header = os.path.join(sysconfig.get_python_inc(), "Python.h")
    missing = []
    if not find_executable(command):
        missing.append("no C compiler was found (%s)" % command)
    if not os.path.exists(header):
        missing.append("Python's headers are not there (%s)" % header)
    return (
        "fdpass: on Python 2 its binding has to be compiled, and that failed: %s.\n"
        "Install a C compiler and the headers of this very Python, and repeat the command."
        " (Debian: gcc and python-dev, python2-dev or pypy-dev; Fedora: gcc and python2.7;"
        " macOS: xcode-select --install.) Python 3 needs neither."
        % ("; ".join(missing) or "the compiler's own words are above")
    )


def build_in_place():
    """Compile into a folder that goes away, and bring only the finished binding here."""
    scratch = tempfile.mkdtemp()
    try:
        try:
            built = ffibuilder.compile(tmpdir=scratch)
        except cffi.VerificationError as error:
            sys.exit("%s\n%s" % (error, advice()))
        target = os.path.join(HERE, os.path.basename(built))
        # Beside the old one and then over it: a process that has that one mapped keeps it whole.
        shutil.copyfile(built, target + ".new")
        os.rename(target + ".new", target)
    finally:
        shutil.rmtree(scratch)
    return target


if __name__ == "__main__":
    sys.stdout.write("built %s\n" % build_in_place())
