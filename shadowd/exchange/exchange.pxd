cdef class Request:
    cdef public long long begin
    cdef public object body
    cdef public long long end
    cdef public long long ended
    cdef public bytes head
    cdef public bint keep_alive
    cdef public bytes lowered
    cdef public bytes method
    cdef public tuple paces
    cdef public long long started
    cdef public bytes target
    cdef public bytes trailers
    cdef public object turn
    cdef public bint upgrade

cdef class Response:
    cdef public long long begin
    cdef public object body
    cdef public long long body_length
    cdef public object digest
    cdef public long long end
    cdef public long long first_byte
    cdef public bytes head
    cdef public bint keep_alive
    cdef public long long last_byte
    cdef public bint loose
    cdef public object marks
    cdef public bint open
    cdef public long long status
    cdef public bytes trailers

cdef class Exchange:
    cdef public long long after
    cdef public bint answered
    cdef public long long connection
    cdef public object early
    cdef public object failure
    cdef public long long index
    cdef public long long rank
    cdef public Request request
    cdef public Response response
    cdef public object source
    cdef public tuple trials
    cdef public bint uncomparable
    cdef public tuple writes
