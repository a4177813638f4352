cdef long long _MASK, _HALF
cpdef long long add(long long seq, long long count)
cpdef long long distance(long long origin, long long seq)
cpdef bint before(long long a, long long b)
cpdef bint after(long long a, long long b)
