import cython

cdef Py_ssize_t _TIME, _FILTERS, _SEQ, _ACK, _WHOLE, _OFFSET, _SIZE, _KIND, _DIRECTION, _FLAGS, _MARKS, _KEY, _PAYLOAD, _SECRET
cdef unsigned int _BUSY, _DISCARD, _CHUNK, URGENT_SHIFT, RECORD_TIMING, RECORD_SEGMENT, RECORD_SECRET

cdef class RingSink:
    cpdef segment(self, bytes key, long long direction, long long seq, long long ack, long long flags, bytes payload, long long time, unsigned long long tag)
    cpdef timing(self, unsigned long long cookie, long long direction, long long seq, long long length, long long flags, long long time)
    cpdef urgent(self, bytes key, long long direction, long long seq)
    cpdef marked(self, bytes key, long long direction, long long marks)
    cpdef secret(self, bytes record)

cdef class Ring:
    cdef public object _consumer
    cdef public object _consumer_map
    cdef public object _data
    cdef public object descriptor
    cdef public unsigned long long _mask
    cdef const unsigned char[::1] _octets
    cdef public object _producer
    cdef const unsigned long long[::1] _quads
    cdef public long long size
    cdef public object _sleeping
    cdef const unsigned int[::1] _words
    cdef public bytes _worker
    @cython.locals(position='unsigned long long', end='unsigned long long', mask='unsigned long long', at='Py_ssize_t', base='Py_ssize_t', quad='Py_ssize_t', word='Py_ssize_t', body='Py_ssize_t', length='unsigned int', size='unsigned int', whole='unsigned int', offset='unsigned int', seq='long long', direction='long long', flags='long long', count='long long', octets='const unsigned char[::1]', words='const unsigned int[::1]', quads='const unsigned long long[::1]', key=bytes, payload=bytes)
    cpdef long long drain(self, RingSink sink, unsigned long long max_bytes) except -1
