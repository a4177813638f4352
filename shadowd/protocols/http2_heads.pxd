import cython

cdef class RequestHead:
    cdef public bytes head
    cdef public long long length
    cdef public bytes method
    cdef public bytes target
    cdef public bint tunnel
