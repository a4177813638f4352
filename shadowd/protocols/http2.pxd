from shadowd.exchange.exchange cimport Exchange, Response
from shadowd.protocols.http2_side cimport Side
from shadowd.protocols.http2_streams cimport Stream

cdef class Http2Codec:
    cdef public long long _body_limit
    cdef public object _charge
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
    cpdef _feed(self, Side side, bytes data, long long time)
    cpdef _frame(self, Side side, object frame, long long time)
    cpdef _count(self, Stream stream, long long direction, long long size)
    cpdef _tell(self, Stream stream, long long time)
    cpdef _end_answer(self, Stream stream, long long time, long long end)
    cpdef _pair(self, Stream stream, Response answer)
