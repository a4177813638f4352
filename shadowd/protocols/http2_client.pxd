from shadowd.protocols.http2_side cimport Side
from shadowd.protocols.http2_streams cimport Stream

cdef class _Unsent:
    cdef public long long at
    cdef public bytes body
    cdef public object pacing
    cdef public list trailers
    cdef public long long until
    cdef public long long window

cdef class Http2Client:
    cdef public long long _body_limit
    cdef public object _charge
    cdef public long long _frame_size
    cdef public long long _heads
    cdef public long long _held
    cdef public long long _idle
    cdef public long long _initial
    cdef public long long _next
    cdef public long long _received
    cdef public Side _side
    cdef public dict _streams
    cdef public bint _table_update
    cdef public dict _unsent
    cdef public long long _window
    cdef public object error
    cdef public bint going
    cdef public long long limit
    cdef public bytearray out
    cdef public long long replies
    cdef public list sent
    cpdef list feed_untrusted(self, bytes data, long long now)
    cpdef _frame(self, object one, list ended, long long now)
    cpdef _data(self, object one, list ended, long long now)
    cpdef _block(self, object block, list ended, long long now)
    cpdef _end(self, Stream stream, long long end, list ended, long long now)
    cpdef _close(self, long long number)
