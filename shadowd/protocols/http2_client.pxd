cdef class _Unsent:
    cdef public object at
    cdef public object body
    cdef public object trailers
    cdef public object window

cdef class Http2Client:
    cdef public object _body_limit
    cdef public object _charge
    cdef public object _frame_size
    cdef public object _held
    cdef public object _idle
    cdef public object _initial
    cdef public object _next
    cdef public object _received
    cdef public object _side
    cdef public object _streams
    cdef public object _unsent
    cdef public object _window
    cdef public object error
    cdef public object going
    cdef public object limit
    cdef public object out
    cdef public object sent
