import cython

from shadowd.evidence.bursts cimport Bursts
from shadowd.evidence.latency cimport LatencySketch

cdef class LatencyEvidence:
    cdef public long long _after
    cdef public long long _began
    cdef public object blocks
    cdef public Bursts _bursts
    cdef public LatencySketch candidate
    cdef public long long candidate_lost
    cdef public long long count
    cdef public long long first
    cdef public long long floor
    cdef public object groups
    cdef public long long late
    cdef public long long least
    cdef public object pace
    cdef public long long _pairs
    cdef public list _ratios
    cdef public LatencySketch reference
    cdef public long long reference_lost
    cdef public long long _until
    cdef public long long warmed
    cdef public long long warmup
    @cython.locals(bursts=Bursts)
    cpdef add(self, long long time_ns, long long reference_ns, long long candidate_ns, long long group=*)
