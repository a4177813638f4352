import cython

from shadowd.evidence.contents cimport Moment
from shadowd.evidence.evidence cimport Balance, Endpoint
from shadowd.evidence.latency cimport LatencySketch
from shadowd.evidence.stretches cimport Tally
from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Response

cdef class Timing:
    cdef public object _contents
    cdef public tuple _interval
    cdef public long long late
    cdef public object _lost
    cdef public Tally of_slow
    cdef public object _settings
    cdef public Balance slow
    cdef public long long _slow_at
    cdef public long long _slow_until
    cdef public long long timed
    cdef public Endpoint whole
    @cython.locals(side=Side, other=Side, time='long long', group='long long', sent='long long', first='long long', last='long long', production_times=LatencySketch, candidate_times=LatencySketch, whole=Endpoint, warmed='long long', candidate=Response, size='long long')
    cpdef bint note(self, Trial trial, Response production, Endpoint endpoint, Moment moment) except -1
    @cython.locals(theirs=bint)
    cpdef _note_slow(self, long long first, long long candidate, long long time, long long group)
