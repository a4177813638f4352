from shadowd.exchange.exchange cimport Exchange, Response

cdef class Side:
    cdef public bint done
    cdef public object failure
    cdef public long long first_byte
    cdef public long long last_byte
    cdef public bint late
    cdef public Response response
    cdef public long long sent_at
    cdef public object shed

cdef class Trial:
    cdef public Side baseline
    cdef public Side candidate
    cdef public object differences
    cdef public object endpoint
    cdef public object examiner
    cdef public Exchange exchange
    cdef public object excused
    cdef public object faults
    cdef public object found
    cdef public long long kept
    cdef public long long outcome
    cdef public long long pending
    cdef public Side twin
