cdef class Moment:
    cdef public long long group
    cdef public long long time
