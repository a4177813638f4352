import cython

from shadowd.tls.records cimport Half
from shadowd.tls.schedule cimport Opener

cdef class Connection:
    cdef public object _early
    cdef public object _keyring
    cdef public object _owner
    cdef public object _pair
    cdef public bytes _random
    cdef public bint _released
    cdef public bint _retried
    cdef public object _secrets
    cdef public bytes _server_random
    cdef public object _suite
    cdef public str admission
    cdef public Half client
    cdef public Half server
    cdef public object server_name
    cdef public long long version
    @cython.locals(opener=Opener, kind='long long', inside='long long')
    cpdef read(self, Half half, bytes record, long long now)
