import cython

from shadowd.tls.schedule cimport Opener

cdef class Half:
    cdef public long long at
    cdef public str broken
    cdef public bytes buffer
    cdef public bint closed
    cdef public long long direction
    cdef public bint idle
    cdef public long long keyless
    cdef public long long lost
    cdef public object messages
    cdef public Opener opener
    cdef public long long skipping
    cdef public str state
    cdef public long long tries
    cdef public bint withheld
    @cython.locals(at='long long', end='long long', length='long long', found=list)
    cpdef list cut_untrusted(self, bytes data)
