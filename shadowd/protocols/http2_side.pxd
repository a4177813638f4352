from shadowd.protocols.hpack cimport Decoder
from shadowd.protocols.http2_frames cimport Frame, FrameReader

cdef long long END_HEADERS, END_STREAM, PUSH_PROMISE

cdef class Block:
    cdef public long long begin
    cdef public long long end
    cdef public bint ends_stream
    cdef public list fields
    cdef public bint oversized
    cdef public bint promise
    cdef public long long size
    cdef public long long stream
    cdef public long long time

cdef class Side:
    cdef public bytearray _block
    cdef public Frame _first
    cdef public long long _size
    cdef public long long _time
    cdef public Decoder decoder
    cdef public long long direction
    cdef public FrameReader reader
    cdef public str reason
    cpdef long long held(self) except -1
    cpdef Block block_untrusted(self, Frame frame, long long time)
