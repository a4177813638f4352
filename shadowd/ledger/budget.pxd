cdef class Budget:
    cdef public bint exhausted
    cdef public long long limit
    cdef public long long used
    cpdef change(self, long long amount)

cdef class Charge:
    cdef public long long amount
    cdef public Budget _budget
    cpdef hold(self, long long amount)
