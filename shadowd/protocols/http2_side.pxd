from shadowd.protocols.hpack cimport Decoder
from shadowd.protocols.http2_frames cimport FrameReader

cdef class Side:
    cdef public bytearray _block
    cdef public object _first
    cdef public long long _size
    cdef public long long _time
    cdef public Decoder decoder
    cdef public long long direction
    cdef public FrameReader reader
    cdef public str reason
    cpdef block_untrusted(self, object frame, long long time)
