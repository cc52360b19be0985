/* The peer in C on Python 2.7: an extension of the shape that python-fdsend has.
 *
 *   sendfds(fd, msg, flags=0, fds=None) -> bytes sent
 *   recvfds(fd, len, flags=0, numfds=32) -> (msg, tuple of descriptors)
 *
 * fd, and each item of fds, is an int or anything with fileno(). Written for this benchmark, from
 * sendmsg(2), cmsg(3) and the C API's manual; it does what such an extension has to and no more:
 * no check of the family, no retry, no timeout.
 */
#include <Python.h>

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static PyObject *
sendfds(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"fd", "msg", "flags", "fds", NULL};
    PyObject *sock, *fds = Py_None, *items = NULL, *result = NULL;
    struct msghdr header;
    struct iovec vector;
    struct cmsghdr *cmsg;
    const char *data;
    char *control = NULL;
    Py_ssize_t count = 0, i;
    ssize_t sent;
    int size, flags = 0, fd;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Os#|iO:sendfds", names, &sock, &data, &size,
                                     &flags, &fds))
        return NULL;
    if ((fd = PyObject_AsFileDescriptor(sock)) < 0)
        return NULL;
    memset(&header, 0, sizeof header);
    vector.iov_base = (void *)data;
    vector.iov_len = size;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    if (fds != Py_None) {
        items = PySequence_Fast(fds, "fds must be a sequence of descriptors");
        if (!items)
            return NULL;
        count = PySequence_Fast_GET_SIZE(items);
    }
    if (count) {
        size_t room = CMSG_SPACE(count * sizeof(int));

        control = malloc(room);
        if (!control) {
            PyErr_NoMemory();
            goto done;
        }
        memset(control, 0, room);
        header.msg_control = control;
        header.msg_controllen = room;
        cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (i = 0; i < count; i++) {
            int number = PyObject_AsFileDescriptor(PySequence_Fast_GET_ITEM(items, i));
            if (number < 0)
                goto done;
            memcpy(CMSG_DATA(cmsg) + i * sizeof number, &number, sizeof number);
        }
    }
    Py_BEGIN_ALLOW_THREADS
    sent = sendmsg(fd, &header, flags);
    Py_END_ALLOW_THREADS
    result = sent < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyInt_FromSsize_t(sent);
done:
    free(control);
    Py_XDECREF(items);
    return result;
}

/* The descriptors of all SCM_RIGHTS messages, as a tuple. */
static PyObject *
descriptors(struct msghdr *header)
{
    struct cmsghdr *cmsg;
    PyObject *fds;
    Py_ssize_t count = 0, place = 0;

    for (cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
            count += (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    fds = PyTuple_New(count);
    if (!fds)
        return NULL;
    for (cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            size_t i, items = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (i = 0; i < items; i++) {
                PyObject *number;
                int fd;
                memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
                number = PyInt_FromLong(fd);
                if (!number) {
                    Py_DECREF(fds);
                    return NULL;
                }
                PyTuple_SET_ITEM(fds, place++, number);
            }
        }
    return fds;
}

static PyObject *
recvfds(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"fd", "len", "flags", "numfds", NULL};
    PyObject *sock, *data, *fds, *result = NULL;
    struct msghdr header;
    struct iovec vector;
    char *control;
    size_t room;
    ssize_t received;
    int size, flags = 0, most = 32, fd;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Oi|ii:recvfds", names, &sock, &size, &flags,
                                     &most))
        return NULL;
    if ((fd = PyObject_AsFileDescriptor(sock)) < 0)
        return NULL;
    if (size < 0 || most < 0) {
        PyErr_SetString(PyExc_ValueError, "len and numfds must not be negative");
        return NULL;
    }
    data = PyString_FromStringAndSize(NULL, size);
    if (!data)
        return NULL;
    room = CMSG_SPACE(most * sizeof(int));
    control = malloc(room);
    if (!control) {
        Py_DECREF(data);
        return PyErr_NoMemory();
    }
    memset(&header, 0, sizeof header);
    vector.iov_base = PyString_AS_STRING(data);
    vector.iov_len = size;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = room;
    Py_BEGIN_ALLOW_THREADS
    received = recvmsg(fd, &header, flags);
    Py_END_ALLOW_THREADS
    if (received < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto done;
    }
    if (received < size && _PyString_Resize(&data, received) < 0)
        goto done;
    fds = descriptors(&header);
    if (fds) {
        result = PyTuple_Pack(2, data, fds);
        Py_DECREF(fds);
    }
done:
    free(control);
    Py_XDECREF(data);
    return result;
}

static PyMethodDef methods[] = {
    {"sendfds", (PyCFunction)(void (*)(void))sendfds, METH_VARARGS | METH_KEYWORDS, NULL},
    {"recvfds", (PyCFunction)(void (*)(void))recvfds, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMODINIT_FUNC
initfdsend_shape(void)
{
    Py_InitModule("fdsend_shape", methods);
}
