import cython

from shadowd.tls.records cimport Half

cdef class Held:
    cdef public long long acked
    cdef public long long end
    cdef public object event
    cdef public Half half
    cdef public bint idle
    cdef public object plain
    cdef public long long size
    cdef public long long time
