import cython

from shadowd.exchange.exchange cimport Request

cdef class Endpoints:
    cdef public object _children
    cdef public object _folded
    cdef public long long _limit
    cdef public dict _memo
    cdef public object _names
    cdef public object _operations
    cdef public long long _places
    cdef public object _routes
    cdef public dict _urls
    cpdef name(self, bytes method, bytes target)
    @cython.locals(method=bytes, target=bytes)
    cpdef name_of(self, Request request)
