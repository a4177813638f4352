import cython

from shadowd.exchange.exchange cimport Request

cdef class Policy:
    cdef public object _exclude_path
    cdef public list _json_edits
    cdef public object _loop_key
    cdef public list _match_headers
    cdef public object _match_path
    cdef public object _methods
    cdef public bint _preserve_host
    cdef public list _removed
    cdef public bytes _tail
    cdef public long long unedited
    cpdef str refuse(self, Request request)
    @cython.locals(head=bytes, lower=bytes, rest=bytes, at='Py_ssize_t', end='Py_ssize_t')
    cpdef bytes rewrite(self, Request request, bytes host, bint edit=*)
