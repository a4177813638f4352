import cython

from shadowd.stream.flow cimport Flow
from shadowd.stream.side cimport Stream

cdef long long ACK, KIND, RST, SYN, MASK, MAX_WINDOW

cdef class FlowTable:
    cdef public long long _buffered
    cdef public long long _conflicts
    cdef public long long _delivered
    cdef public object _discarded
    cdef public dict _due
    cdef public long long _duplicate
    cdef public dict _ended
    cdef public object _ends
    cdef public dict _flows
    cdef public long long _gap_bytes
    cdef public long long _gaps
    cdef public long long _ignored_resets
    cdef public object _limits
    cdef public long long _midstream
    cdef public object on_fault
    cdef public object on_tag
    cdef public object _open_sink
    cdef public long long _opened
    cdef public long long _overflowed
    cdef public object _refused
    cdef public long long _refused_flows
    cdef public long long _segments
    cdef public dict _waiting
    @cython.locals(flow=Flow, own=Stream, peer=Stream, length='long long')
    cpdef Flow segment(self, bytes key, long long direction, long long seq, long long ack, long long flags, bytes payload, long long time, unsigned long long tag=*)
    cpdef Flow _settle(self, bytes key, Flow flow, long long time)
