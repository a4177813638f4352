# inline: compiled into the modules that use it; octets.py is what they use when they are not compiled.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from *:
    """
    #include <string.h>

    static inline Py_ssize_t shadowd_find(const char *data, Py_ssize_t size, const char *what, Py_ssize_t length) {
        const char *found;
        if (size < length) return -1;
        found = length == 1 ? memchr(data, what[0], size) : memmem(data, size, what, length);
        return found ? found - data : -1;
    }

    __attribute__((optimize("O3"))) static inline void shadowd_lower(const char *from, char *to, Py_ssize_t size) {
        for (Py_ssize_t at = 0; at < size; at++) {
            unsigned char one = (unsigned char)from[at];
            to[at] = (char)(one ^ ((unsigned char)((unsigned char)(one - 'A') < 26) << 5));
        }
    }
    """
    Py_ssize_t shadowd_find(const char *data, Py_ssize_t size, const char *what, Py_ssize_t length)
    void shadowd_lower(const char *source, char *target, Py_ssize_t size)

cdef inline Py_ssize_t find(bytes data, bytes what, Py_ssize_t start, Py_ssize_t end) except -2:
    if data is None or what is None:
        raise TypeError("bytes are needed")
    end = min(end, PyBytes_GET_SIZE(data))
    if start < 0 or start > end:
        return -1
    cdef Py_ssize_t at = shadowd_find(
        PyBytes_AS_STRING(data) + start, end - start, PyBytes_AS_STRING(what), PyBytes_GET_SIZE(what)
    )
    return at + start if at >= 0 else -1

cdef inline bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end):
    if data is None:
        raise TypeError("bytes are needed")
    end = min(end, PyBytes_GET_SIZE(data))
    if start < 0 or start >= end:
        return b""
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)

cdef inline bytes lower(bytes data):
    if data is None:
        raise TypeError("bytes are needed")
    cdef bytes lowered = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data))
    shadowd_lower(PyBytes_AS_STRING(data), PyBytes_AS_STRING(lowered), PyBytes_GET_SIZE(data))
    return lowered

cdef inline long long number(bytes data, Py_ssize_t start, Py_ssize_t end) except -2:
    if data is None:
        raise TypeError("bytes are needed")
    end = min(end, PyBytes_GET_SIZE(data))
    if start < 0 or start >= end or end - start > 15:
        return -1
    cdef const char *digits = PyBytes_AS_STRING(data)
    cdef long long told = 0
    cdef Py_ssize_t at
    for at in range(start, end):
        if not c"0" <= digits[at] <= c"9":
            return -1
        told = 10 * told + (digits[at] - c"0")
    return told
