import cython

cdef long long _SUB_BITS

cdef class LatencySketch:
    cdef public long long _base
    cdef public long long count
    cdef public object _counts
    @cython.locals(value='long long', shift='long long', index='long long')
    cpdef add(self, long long nanoseconds)
