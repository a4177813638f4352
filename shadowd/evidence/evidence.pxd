from shadowd.evidence.slowdown cimport LatencyEvidence
from shadowd.evidence.stretches cimport Tally

cdef class Balance:
    cdef public Tally against
    cdef public Tally better

cdef class Outcomes:
    cdef public Balance failing
    cdef public Balance refused
    cdef public long long shared
    cdef public Tally total

cdef class Endpoint:
    cdef public object differing
    cdef public object fields
    cdef public LatencyEvidence first_byte
    cdef public object keys
    cdef public LatencyEvidence last_byte
    cdef public object name
    cdef public object order
    cdef public Outcomes outcomes
    cdef public long long pairs
    cdef public object stream
    cdef public object talk
    cdef public object thirds
    cdef public long long total
    cdef public object trials
