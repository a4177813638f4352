import cython

cdef class Opener:
    cdef public object _cipher
    cdef public long long _explicit
    cdef public bytes _high
    cdef public object _low
    cdef public bint _modern
    cdef public long long overhead
    cdef public bytes _secret
    cdef public long long sequence
    cdef public object suite
    cdef public long long _tag
    @cython.locals(number='long long', explicit='long long', length='long long', end='long long', head=bytes, plain=bytes)
    cpdef tuple open_untrusted(self, bytes record, long long number=*)
