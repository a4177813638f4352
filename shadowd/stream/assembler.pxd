import cython

cdef long long MASK, MAX_WINDOW

cdef class Assembler:
    cdef public bint anchored
    cdef public long long buffered
    cdef public long long conflicts
    cdef public object _discarded
    cdef public long long duplicate
    cdef public long long end
    cdef public long long gap_bytes
    cdef public long long max_buffered
    cdef public long long max_ranges
    cdef public long long next_seq
    cdef public long long offset
    cdef public object _queue
    cdef public object _skipped
    cpdef refuse(self, str reason, long long length)
    cpdef anchor(self, long long seq)
    cpdef bint finish(self, long long seq)
    @cython.locals(expected='long long', length='long long')
    cpdef bytes push(self, long long seq, bytes data, bint fin=*)
    cpdef hole(self)
    cpdef bytes take(self)
    cpdef bytes _push_out_of_order(self, long long ahead, bytes data, bint fin)
    cpdef _advance(self, long long length)
    cpdef bytes _drain(self, bytes first)
