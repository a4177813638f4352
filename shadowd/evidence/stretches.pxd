import cython

cdef class Slots:
    cdef public long long base
    cdef public object counts
    cdef public long long shift
    @cython.locals(index='long long')
    cpdef add(self, long long time, long long many=*)

cdef class Tally:
    cdef public object by_group
    cdef public long long count
    cdef public Slots slots
    @cython.locals(slots=Slots, index='long long')
    cpdef add(self, long long time, long long group, long long many=*)
