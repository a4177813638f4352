import cython

from shadowd.exchange.exchange cimport Response
from shadowd.ledger.budget cimport Charge
from shadowd.protocols.http2_frames cimport Frame
from shadowd.protocols.http2_side cimport Block, Side
from shadowd.protocols.http2_streams cimport Stream

cdef long long ACK, COMING, DATA, END_STREAM, FRAME_HEAD, GOAWAY, NONE, PING, PUSH_PROMISE, RST_STREAM, SETTINGS
cdef long long WINDOW_UPDATE

cdef class _Unsent:
    cdef public long long at
    cdef public bytes body
    cdef public object pacing
    cdef public list trailers
    cdef public long long until
    cdef public long long window

cdef class Http2Client:
    cdef public long long _body_limit
    cdef public Charge _charge
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
    cpdef bytes _encoded(self, list fields)
    @cython.locals(one=Frame)
    cpdef list feed_untrusted(self, bytes data, long long now)
    cpdef _hold(self)
    @cython.locals(block=Block)
    cpdef _frame(self, Frame one, list ended, long long now)
    @cython.locals(stream=Stream, ends=bint, answer=Response)
    cpdef _data(self, Frame one, list ended, long long now)
    @cython.locals(stream=Stream, status='long long', head=bytes)
    cpdef _block(self, Block block, list ended, long long now)
    cpdef _weigh(self, Stream stream, bytes head)
    @cython.locals(answer=Response)
    cpdef _end(self, Stream stream, long long end, list ended, long long now)
    @cython.locals(stream=Stream)
    cpdef _close(self, long long number)
