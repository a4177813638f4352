import cython

cdef _time_at(seen, long long offset)

cdef class SegmentTimes:
    cdef public object arrivals
    cdef public object departures
    cdef public long long _in_base
    cdef public long long _measured
    cdef public long long _out_base
    cdef public long long _rtt
    @cython.locals(base='long long', last='long long', end='long long')
    cpdef record(self, long long direction, long long seq, long long length, long long flags, long long time)
    cpdef between(self, long long sent_end, long long first, long long last)
    cpdef long long round_trip(self, sock) except -1
