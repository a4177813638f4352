from shadowd.replay.lane cimport Lane

cdef class StreamLane(Lane):
    cdef public list _leaving
    cpdef advance(self, long long now)
