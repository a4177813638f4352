from shadowd.replay.lane cimport Lane
from shadowd.replay.leg cimport Leg

cdef class StreamLane(Lane):
    cdef public long long _held
    cdef public list _leaving
    cpdef advance(self, long long now)
    cpdef bint in_time(self, Leg leg, long long now) except -1
