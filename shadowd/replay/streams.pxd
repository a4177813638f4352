from shadowd.replay.lane cimport Lane

cdef class StreamLane(Lane):
    cpdef advance(self, long long now)
