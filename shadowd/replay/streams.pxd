from shadowd.replay.lane cimport Lane

cdef class StreamLane(Lane):
    cdef public long long _held
    cdef public list _leaving
    cpdef advance(self, long long now)
