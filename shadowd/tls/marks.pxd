import cython

cdef class Marks:
    cdef public long long _acked
    cdef public object _marks
    cpdef add(self, long long end, long long plain, long long acked)
    cpdef long long acked(self, long long acked)
    cpdef clear(self)
