cdef class TargetAccount:
    cdef public dict failed
    cdef public long long in_flight
    cdef public long long mirrored
    cdef public object role
    cdef public dict shed
    cdef public long long spread
    cdef public long long stray
    cdef public dict twins
    cdef public long long twins_in_flight
    cdef public long long uncomparable
    cdef public object url

cdef class FilterAccount:
    cdef public dict filtered
    cdef public dict lost
    cdef public object matched
    cdef public object name
    cdef public object not_copied
    cdef public object not_looked_at
    cdef public long long seen
    cdef public list targets
