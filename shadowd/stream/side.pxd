from shadowd.stream.assembler cimport Assembler

cdef long long MASK, MAX_WINDOW

cdef class Stream(Assembler):
    cdef public long long acked
    cdef public bint confirmed
    cdef public bint ended
    cdef public bint held
    cdef public long long hole_since
    cdef public long long isn
    cdef public object rivals
    cdef public long long told
    cdef public long long urgent
    cpdef acknowledge(self, long long ack)
