cdef class Bursts:
    cdef public object _candidate
    cdef public long long candidate90
    cdef public long long _candidate99
    cdef public long long _check_at
    cdef public long long _closed
    cdef public object _effects
    cdef public object _reference
    cdef public long long reference90
    cdef public long long _reference99
    cdef public object _rows
