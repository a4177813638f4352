import cython

from shadowd.exchange cimport octets
from shadowd.exchange.exchange cimport Request

cdef class Policy:
    cdef public object _exclude_path
    cdef public list _json_edits
    cdef public object _loop_key
    cdef public list _match_headers
    cdef public object _match_path
    cdef public object _methods
    cdef public bint _reads
    cdef public bint _preserve_host
    cdef public list _removed
    cdef public object declared
    cdef public bytes _tail
    cdef public bint _websocket
    cdef public long long unedited
    @cython.locals(lower=bytes)
    cpdef str refuse(self, Request request)
    @cython.locals(head=bytes, lower=bytes, before=bytes, after=bytes, named=bint, at='Py_ssize_t', until='Py_ssize_t', rest='Py_ssize_t', size='Py_ssize_t', several=bint)
    cpdef bytes rewrite(self, Request request, bytes host, bint edit=*)
