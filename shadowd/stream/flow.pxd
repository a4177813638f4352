import cython

from shadowd.stream.side cimport Stream

cdef class FlowSink:
    cpdef data(self, long long direction, bytes data, long long time)

cdef class Flow:
    cdef public long long before
    cdef public Stream client
    cdef public long long due
    cdef public long long gaps
    cdef public long long ignored_resets
    cdef public long long known_buffered
    cdef public bint midstream
    cdef public bint _patient
    cdef public bint _reset_seen
    cdef public long long seen
    cdef public Stream server
    cdef public FlowSink sink
    cdef public long long speaker
    cdef public str state
    cdef public bint steady
    cdef public unsigned long long tag
    @cython.locals(own=Stream, peer=Stream)
    cpdef segment(self, long long direction, long long seq, long long ack, long long flags, bytes payload, long long time)
    @cython.locals(data=bytes, below='long long')
    cpdef _take(self, long long direction, Stream own, Stream peer, long long seq, long long ack, long long flags, bytes payload, long long time)
    cpdef _advance(self, long long direction, Stream own, long long time)
    cpdef _hand_out(self, long long direction, Stream own, long long time)
    @cython.locals(at='long long')
    cpdef _tell(self, long long direction, Stream own, bytes data, long long time)
    @cython.locals(client=Stream, server=Stream)
    cpdef _look_around(self, long long time)
