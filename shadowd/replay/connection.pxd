import cython

from shadowd.exchange.exchange cimport Response
from shadowd.protocols.http1_response cimport ResponseReader
from shadowd.replay.leg cimport Leg
from shadowd.replay.target cimport Target
from shadowd.replay.timing cimport SegmentTimes

cdef long long _ENDING, _READABLE

cdef class Connection:
    cdef public object address
    cdef public long long answered
    cdef public object _answers
    cdef public long long connect_deadline
    cdef public unsigned long long cookie
    cdef public object _engine
    cdef public long long fd
    cdef public ResponseReader _http
    cdef public long long idle_since
    cdef public object in_flight
    cdef public bint keep_alive
    cdef public object _marks
    cdef public bytearray _out
    cdef public object owner
    cdef public long long _received
    cdef public object server_name
    cdef public object sock
    cdef public long long state
    cdef public Target target
    cdef public SegmentTimes times
    cdef public object _tls
    cdef public object _tls_in
    cdef public object _tls_out
    cdef public long long _written
    cpdef on_event(self, long long events, long long now)
    @cython.locals(taken='long long', size='long long', data=bytes)
    cpdef _read(self, long long now, long long ending)
    @cython.locals(http=ResponseReader)
    cpdef _deliver(self, bytes data, long long now)
    @cython.locals(leg=Leg, response=Response)
    cpdef _answer(self, responses, long long now)
    @cython.locals(http=ResponseReader)
    cpdef send(self, Leg leg, long long now)
    @cython.locals(sent='long long')
    cpdef _write(self, bytes data, long long now)
    @cython.locals(response=Response, times=SegmentTimes, begin='long long', end='long long', trip='long long')
    cpdef measure(self, Leg leg)
