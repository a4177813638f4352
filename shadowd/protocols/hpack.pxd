import cython

cdef long long _FIRST_DYNAMIC

@cython.locals(byte='long long', shift='long long')
cdef tuple _integer(bytes block, long long at, long long value)
@cython.locals(place='long long')
cdef long long _place(long long index, long long count) except -1
@cython.locals(first='long long', length='long long', end='long long', text=bytes)
cdef tuple _string(bytes block, long long at, dict strings)

cdef class Decoder:
    cdef public long long _capacity
    cdef public list _entries
    cdef public long long _size
    cdef public dict _strings
    cdef public bint oversized
    @cython.locals(entries=list, strings=dict, fields=list, at='long long', end='long long', total='long long', first='long long', index='long long', size='long long', mask='long long', name=bytes, value=bytes, field=tuple)
    cpdef list decode_untrusted(self, bytes block)
    @cython.locals(size='long long')
    cpdef _insert(self, tuple field)
    @cython.locals(gone='long long', entries=list)
    cpdef _evict(self, long long wanted)
