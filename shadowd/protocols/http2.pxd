import cython

from shadowd.exchange.exchange cimport Exchange, Response
from shadowd.ledger.budget cimport Charge
from shadowd.protocols.http2_frames cimport Frame
from shadowd.protocols.http2_heads cimport RequestHead
from shadowd.protocols.http2_side cimport Block, Side
from shadowd.protocols.http2_streams cimport Stream

cdef long long DATA, END_STREAM, CLIENT, SERVER, COMING, LEFT, NONE, TOLD

cdef class Http2Codec:
    cdef public long long _body_limit
    cdef public Charge _charge
    cdef public Side _client
    cdef public object _ends
    cdef public bint _eof
    cdef public object _flow
    cdef public long long _held
    cdef public long long _index
    cdef public long long _latest
    cdef public long long _max_body
    cdef public long long _ranked
    cdef public Side _server
    cdef public object _sink
    cdef public dict _streams
    cdef public list _waiting
    cpdef client_data(self, bytes data, long long time)
    cpdef server_data(self, bytes data, long long time)
    @cython.locals(frame=Frame)
    cpdef _feed(self, Side side, bytes data, long long time)
    cpdef _hold(self)
    cpdef _forget(self, Stream stream)
    cpdef _drop(self, Stream stream)
    cpdef _count(self, Stream stream, long long direction, long long size)
    @cython.locals(block=Block)
    cpdef _frame(self, Side side, Frame frame, long long time)
    @cython.locals(stream=Stream)
    cpdef _block(self, Side side, Block block, long long time)
    @cython.locals(stream=Stream, head=RequestHead)
    cpdef _begin(self, Block block, long long time)
    @cython.locals(stream=Stream, ends=bint)
    cpdef _data(self, Side side, Frame frame, long long time)
    @cython.locals(exchange=Exchange)
    cpdef _tell(self, Stream stream, long long time)
    @cython.locals(status='long long', head=bytes)
    cpdef _answer_block(self, Stream stream, Block block, long long time)
    cpdef _answer_data(self, Stream stream, Frame frame, long long time, bint ends)
    @cython.locals(answer=Response, exchange=Exchange)
    cpdef _end_answer(self, Stream stream, long long time, long long end)
    cpdef _pair(self, Stream stream, Exchange exchange, Response answer)
