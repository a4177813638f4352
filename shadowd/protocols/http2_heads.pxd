import cython

cdef bytes _line(tuple field)
@cython.locals(found=list, line=bytes, name=bytes, value=bytes, colon=bytes)
cdef list _fields(bytes lines)

cdef class RequestHead:
    cdef public bytes head
    cdef public long long length
    cdef public bytes method
    cdef public bytes target
    cdef public bint tunnel
