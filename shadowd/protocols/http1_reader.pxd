import cython

from shadowd.exchange cimport octets
from shadowd.exchange.exchange cimport Request
from shadowd.protocols.http1_framing cimport MessageReader

cdef long long HEAD, STOPPED

cdef class RequestReader(MessageReader):
    cdef public bint _closed
    cdef public bytes failed_method
    cdef public bint _large
    cdef public long long _max_body
    cdef public bint _repeated
    cdef public bytes trailing
    cdef public bint _upgrade
    cdef public object _why
    @cython.locals(size='long long', begin='long long', end='long long', keep_alive=bint, words=list, lowered=bytes, request=Request)
    cpdef feed_untrusted(self, bytes data, long long time)
