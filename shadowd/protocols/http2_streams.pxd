import cython

from shadowd.exchange cimport octets
from shadowd.exchange.exchange cimport Exchange, Request, Response
from shadowd.protocols.http2_heads cimport RequestHead

cdef class Stream:
    cdef public long long after
    cdef public Response answer
    cdef public bytearray answer_body
    cdef public long long answered_size
    cdef public long long begin
    cdef public bytearray body
    cdef public object dialogue
    cdef public object digest
    cdef public Exchange exchange
    cdef public str failure
    cdef public RequestHead head
    cdef public object marks
    cdef public long long number
    cdef public long long rank
    cdef public str reason
    cdef public long long request
    cdef public long long response
    cdef public long long size
    cdef public long long started
    cdef public bytes trailers
    cdef public long long weight
    @cython.locals(head=RequestHead, request=Request, begin='long long')
    cpdef Request request_of(self, long long time)
    cpdef long long weigh(self, bytes kept) except -1
    cpdef long long kept(self) except -1
    cpdef begin_answer(self, long long status, bytes head, long long begin, long long time, long long body_limit)
    @cython.locals(answer=Response, before='long long', room='long long', held='long long')
    cpdef long long keep_answer(self, bytes piece, long long time, long long body_limit, bint exhausted) except -1
    @cython.locals(answer=Response)
    cpdef Response answer_of(self, long long time)
    cpdef drop_answer(self)
