import cython

from shadowd.exchange.exchange cimport Exchange, Request, Response
from shadowd.protocols.http1_reader cimport RequestReader
from shadowd.protocols.http1_response cimport ResponseReader

cdef long long CUT, SEEK, PROBE, HOLD, DONE

cdef class Http1Codec:
    cdef public long long _after
    cdef public long long _body_limit
    cdef public object _budget
    cdef public long long _client
    cdef public long long _client_offset
    cdef public bint _continued
    cdef public bint _counted
    cdef public bint _early
    cdef public object _early_response
    cdef public object _ends
    cdef public object _flow
    cdef public long long _index
    cdef public long long _max_body
    cdef public long long _max_head
    cdef public long long _partial_after
    cdef public long long _probes
    cdef public str _reason
    cdef public RequestReader requests
    cdef public ResponseReader responses
    cdef public long long _server
    cdef public long long _server_offset
    cdef public str _server_reason
    cdef public object _sink
    cdef public object _slots
    cdef public str _urgent
    cdef public object _withheld
    @cython.locals(acked='long long')
    cpdef client_data(self, bytes data, long long time)
    @cython.locals(client='long long', requests=RequestReader, responses=ResponseReader)
    cpdef server_data(self, bytes data, long long time)
    @cython.locals(requests=RequestReader)
    cpdef _cut(self, bytes data, long long time, long long after)
    @cython.locals(requests=RequestReader)
    cpdef _take_requests(self, done, long long time, long long after)
    @cython.locals(index='long long')
    cpdef _request(self, Request request, long long after)
    @cython.locals(responses=ResponseReader, response=Response)
    cpdef _take_responses(self, done)
    cpdef _pair(self, slot, Response response)
